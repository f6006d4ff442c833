//! Aligned columns of text, as wide as a terminal shows them.
//!
//! ```text
//! NAMESPACE   NAME    CPU(cores)
//! default     web           531m
//! ```

use std::fmt::Write as _;

/// Between two columns, as `kubectl` has it.
const GAP: usize = 3;

/// One column's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its title.
    pub(super) title: &'static str,
    /// Numbers stand right.
    pub(super) right: bool,
}

/// The table: a line of titles, unless there are to be none, and one line for each row. Every row
/// has as many cells as there are heads. No line ends in a blank.
pub(super) fn table(heads: &[Head], rows: &[Vec<String>], titles: bool) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let title = titles.then(|| heads.iter().map(|head| head.title.to_owned()).collect());
    let lines: Vec<&Vec<String>> = title.iter().chain(&rows).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            lines.iter().filter_map(|line| line.get(column)).map(|cell| width(cell)).max().unwrap_or(0)
        })
        .collect();
    lines.into_iter().fold(String::new(), |mut text, line| {
        text.push_str(aligned(heads, &widths, line).trim_end());
        text.push('\n');
        text
    })
}

fn aligned(heads: &[Head], widths: &[usize], line: &[String]) -> String {
    let mut text = String::new();
    for (column, ((head, wide), cell)) in heads.iter().zip(widths).zip(line).enumerate() {
        let gap = if column == 0 { 0 } else { GAP };
        let room = wide.saturating_sub(width(cell));
        let (before, after) = if head.right { (gap + room, 0) } else { (gap, room) };
        text.extend(std::iter::repeat_n(' ', before));
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', after));
    }
    text
}

/// `text` with each control character spelled out: a name from a container runtime must not move
/// the cursor or start a colour on somebody's terminal.
pub(super) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_direction(c) {
            // Writing to a string cannot fail.
            let _ = write!(shown, "{}", c.escape_unicode());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Marks that turn the direction of writing.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Cells of a terminal that `text` takes: 2 for East Asian wide characters and emoji, 0 for marks
/// that sit on the character before (Unicode Standard Annex 11, in blocks).
pub(super) fn width(text: &str) -> usize {
    text.chars().map(cells).sum()
}

fn cells(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0x20d0..=0x20ff | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f
        | 0x2e80..=0x303e
        | 0x3041..=0x4dbf
        | 0x4e00..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1f64f
        | 0x1f680..=0x1f6ff
        | 0x1f900..=0x1f9ff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: [Head; 3] = [
        Head { title: "NAME", right: false },
        Head { title: "CPU", right: true },
        Head { title: "NODE", right: false },
    ];

    fn row(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn numbers_stand_right_and_no_line_ends_in_a_blank() {
        let rows = [row(["web", "531m", "n1"]), row(["longest-of-all", "7m", ""])];
        let expected = "NAME              CPU   NODE\nweb              531m   n1\nlongest-of-all     7m\n";
        assert_eq!(table(&HEADS, &rows, true), expected);
    }

    #[test]
    fn without_titles_columns_are_as_wide_as_their_cells() {
        assert_eq!(table(&HEADS, &[row(["a", "1m", "x"])], false), "a   1m   x\n");
        assert_eq!(table(&HEADS, &[], false), "");
    }

    #[test]
    fn columns_align_by_what_the_terminal_shows() {
        let rows = [row(["日本", "1m", "x"]), row(["cafe\u{301}", "1m", "x"])];
        assert_eq!(table(&HEADS, &rows, false), "日本   1m   x\ncafe\u{301}   1m   x\n");
    }

    #[test]
    fn a_name_cannot_drive_the_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(printable("x\u{202e}y"), "x\\u{202e}y");
        assert!(!table(&HEADS, &[row(["\u{1b}]0;x\u{7}", "1m", "x"])], true).contains('\u{1b}'));
    }
}
