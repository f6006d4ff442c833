//! Bytes to numbers: the few helpers every parser of kernel text in this room is made of.
//!
//! Kernel files are lines of white-space separated fields, `pgfault 42194`. Nothing here allocates.
//!
//! # Why only whole lines
//! A read that was cut short leaves a last line without its newline, and `usage_usec 12` may be the
//! beginning of `usage_usec 1234`. The kernel ends every line it prints, so a line without an end
//! is not shown to a parser at all: a cut file gives absent figures, never wrong ones.

/// The lines of `text` that are complete, without their newline.
pub fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    let end = text.iter().rposition(|&byte| byte == b'\n');
    let whole = &text[..end.unwrap_or(0)];
    // `split` yields one empty line for an empty text.
    whole.split(|&byte| byte == b'\n').filter(move |_| end.is_some())
}

/// The fields of a line, separated by any number of spaces and tabs.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ' || byte == b'\t').filter(|field| !field.is_empty())
}

/// A decimal number and nothing else: no sign, no space, no overflow.
pub fn parse_u64(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(number)
}

/// As [`parse_u64`], for numbers that fit in 32 bits.
pub fn parse_u32(digits: &[u8]) -> Option<u32> {
    parse_u64(digits).and_then(|number| u32::try_from(number).ok())
}

/// What stands before and after the first `separator`.
pub fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// What stands before and after the last `separator`.
pub fn rsplit_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|&byte| byte == separator)?;
    Some((&text[..at], &text[at + 1..]))
}

/// A line `key value`, the shape of most cgroup files.
pub fn parse_key_value(line: &[u8]) -> Option<(&[u8], u64)> {
    let (key, value) = split_once(line, b' ')?;
    Some((key, parse_u64(value)?))
}

/// The one number of a file that holds nothing else, `9764864\n`.
pub fn parse_single_u64(text: &[u8]) -> Option<u64> {
    parse_u64(text.strip_suffix(b"\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_complete_lines_are_seen() {
        let seen = |text: &'static [u8]| lines(text).collect::<Vec<_>>();
        assert_eq!(seen(b"a 1\nb 2\n"), [b"a 1", b"b 2"]);
        assert_eq!(seen(b"a 1\nb 2"), [b"a 1"]);
        assert_eq!(seen(b"a 1"), [b""; 0]);
        assert_eq!(seen(b""), [b""; 0]);
        assert_eq!(seen(b"\n"), [b""]);
        assert_eq!(seen(b"\n\na\n"), [&b""[..], b"", b"a"]);
    }

    #[test]
    fn fields_are_split_at_runs_of_white_space() {
        assert_eq!(fields(b"  7 \t0  loop0 ").collect::<Vec<_>>(), [&b"7"[..], b"0", b"loop0"]);
        assert_eq!(fields(b" ").count(), 0);
    }

    #[test]
    fn numbers_are_digits_only_and_fit() {
        assert_eq!(parse_u64(b"0"), Some(0));
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for refused in [&b""[..], b"18446744073709551616", b"-1", b"+1", b" 1", b"1 ", b"1x", b"\xff"] {
            assert_eq!(parse_u64(refused), None, "{refused:?}");
        }
        assert_eq!(parse_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(parse_u32(b"4294967296"), None);
    }

    #[test]
    fn separators_split_at_the_first_or_the_last() {
        assert_eq!(split_once(b"a:b:c", b':'), Some((&b"a"[..], &b"b:c"[..])));
        assert_eq!(rsplit_once(b"a:b:c", b':'), Some((&b"a:b"[..], &b"c"[..])));
        assert_eq!(split_once(b"abc", b':'), None);
        assert_eq!(rsplit_once(b"abc", b':'), None);
    }

    #[test]
    fn a_key_has_one_number() {
        assert_eq!(parse_key_value(b"pgfault 42194"), Some((&b"pgfault"[..], 42_194)));
        assert_eq!(parse_key_value(b"pgfault"), None);
        assert_eq!(parse_key_value(b"pgfault 1 2"), None);
    }

    #[test]
    fn a_single_number_without_its_newline_may_be_cut_short() {
        assert_eq!(parse_single_u64(b"9764864\n"), Some(9_764_864));
        assert_eq!(parse_single_u64(b"9764"), None);
        assert_eq!(parse_single_u64(b"max\n"), None);
        assert_eq!(parse_single_u64(b"1\n2\n"), None);
    }
}
