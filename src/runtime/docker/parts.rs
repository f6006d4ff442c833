//! An answer taken in as it comes: long texts are cut on their way, and a list comes apart into its rows (pure).
//!
//! ```text
//!   [{"Id":"8dfa","Labels":{"annotation.motd":"aaaa…256 KiB…","app":"web"}},{"Id":…      what comes
//!    {"Id":"8dfa","Labels":{"annotation.motd":"aaaa…4 KiB","app":"web"}}                 what is handed on
//! ```
//!
//! A pod brings annotations of 256 KiB, and cri-dockerd writes them as labels: some 64 pods of one tenant
//! make a list of 16 MiB, of which next to nothing is used. So never more than one row of it is held.

use serde::de::Error as _;
use serde_json::Error;

/// Longer texts are cut: whatever is used is shorter. Counted as the answer has them, with its escapes.
pub(super) const LONGEST_TEXT: usize = 4 << 10;

/// A value that is longer without what was cut is given up: an object of Kubernetes has 1.5 MiB.
pub(super) const LONGEST_VALUE: usize = 2 << 20;

/// What comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One value.
    One,
    /// A list of them.
    List,
}

/// Takes an answer apart.
#[derive(Debug)]
pub(super) struct Parts {
    shape: Shape,
    list: List,
    place: Place,
    /// Of objects and lists within the value.
    depth: usize,
    /// The value so far; nothing more once it is longer than [`LONGEST_VALUE`].
    held: Vec<u8>,
    too_long: bool,
}

/// How far a list has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Before,
    /// Before its first comma.
    First,
    Further,
    Ended,
}

/// Where in a value the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Outside,
    /// In a text, after so many bytes of it.
    Text(usize),
    /// In an escape, of which so many bytes are to come, if that is known yet. It is kept whole or not at all.
    Escape {
        text: usize,
        kept: bool,
        left: Option<u8>,
    },
}

impl Parts {
    pub(super) fn new(shape: Shape) -> Self {
        let (list, place) = (List::Before, Place::Outside);
        Self { shape, list, place, depth: 0, held: Vec::new(), too_long: false }
    }

    /// Takes in the next piece. `each` is handed every row that ends in it, and `None` for one that is too long.
    ///
    /// # Errors
    /// If it is no list where one is to come; one value that is too long; those of `each`.
    pub(super) fn pour(
        &mut self,
        mut piece: &[u8],
        mut each: impl FnMut(Option<Vec<u8>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        while let Some(&byte) = piece.first() {
            let taken = match self.place {
                Place::Text(length) => self.text(piece, length),
                Place::Escape { text, kept, left } => self.escape(byte, text, kept, left),
                Place::Outside => {
                    if self.shape == Shape::One || self.is_within(byte)? {
                        self.outside(byte, &mut each)?;
                    }
                    1
                }
            };
            piece = piece.get(taken..).unwrap_or_default();
        }
        if self.too_long && self.shape == Shape::One { Err(too_long()) } else { Ok(()) }
    }

    /// The one value, or nothing after a whole list.
    ///
    /// # Errors
    /// If the list has not ended.
    pub(super) fn finish(self) -> Result<Vec<u8>, Error> {
        match (self.shape, self.list) {
            (Shape::One, _) | (Shape::List, List::Ended) => Ok(self.held),
            (Shape::List, _) => Err(Error::custom("EOF while parsing a list of containers")),
        }
    }

    /// Whether a byte outside of texts is one of a row, or ends one.
    fn is_within(&mut self, byte: u8) -> Result<bool, Error> {
        match (self.list, byte) {
            (List::Before | List::Ended, b' ' | b'\t' | b'\r' | b'\n') => Ok(false),
            (List::Before, b'[') => {
                self.list = List::First;
                Ok(false)
            }
            (List::Before, _) => Err(Error::custom("this is not a list of containers")),
            (List::Ended, _) => Err(Error::custom("trailing characters after a list of containers")),
            (List::First | List::Further, _) => Ok(true),
        }
    }

    fn outside(
        &mut self,
        byte: u8,
        each: &mut impl FnMut(Option<Vec<u8>>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match byte {
            b',' | b']' if self.depth == 0 && self.shape == Shape::List => {
                let is_empty = self.list == List::First && byte == b']' && self.held.is_empty();
                self.list = if byte == b']' { List::Ended } else { List::Further };
                let row = std::mem::take(&mut self.held);
                let row = (!std::mem::take(&mut self.too_long)).then_some(row);
                return if is_empty && row.is_some() { Ok(()) } else { each(row) };
            }
            b' ' | b'\t' | b'\r' | b'\n' if self.held.is_empty() => return Ok(()),
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b'"' => self.place = Place::Text(0),
            _ => {}
        }
        self.hold(&[byte]);
        Ok(())
    }

    /// Returns how many bytes were taken, here and in an escape.
    fn text(&mut self, piece: &[u8], length: usize) -> usize {
        let plain = piece.iter().position(|byte| matches!(byte, b'"' | b'\\')).unwrap_or(piece.len());
        let room = LONGEST_TEXT.saturating_sub(length);
        if plain > 0 {
            self.hold(piece.get(..plain.min(room)).unwrap_or_default());
            self.place = Place::Text(length.saturating_add(plain));
            return plain;
        }
        if piece.first() == Some(&b'"') {
            self.hold(b"\"");
            self.place = Place::Outside;
            return 1;
        }
        let kept = room > 0;
        self.hold(if kept { b"\\" } else { b"" });
        self.place = Place::Escape { text: length.saturating_add(1), kept, left: None };
        1
    }

    fn escape(&mut self, byte: u8, text: usize, kept: bool, left: Option<u8>) -> usize {
        let text = text.saturating_add(1);
        self.hold(if kept { std::slice::from_ref(&byte) } else { b"" });
        let left = left.map_or(if byte == b'u' { 4 } else { 0 }, |left| left.saturating_sub(1));
        self.place =
            if left == 0 { Place::Text(text) } else { Place::Escape { text, kept, left: Some(left) } };
        1
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.held.len().saturating_add(bytes.len()) > LONGEST_VALUE {
            (self.too_long, self.held) = (true, Vec::new());
        }
        if !self.too_long {
            self.held.extend_from_slice(bytes);
        }
    }
}

fn too_long() -> Error {
    Error::custom(format_args!("an answer of more than {} MiB", LONGEST_VALUE >> 20))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is handed on of `text` if it comes in pieces of `size` bytes.
    fn parted(shape: Shape, text: &[u8], size: usize) -> Result<Vec<Option<String>>, Error> {
        let (mut parts, mut rows) = (Parts::new(shape), Vec::new());
        let as_text = |row: Vec<u8>| String::from_utf8_lossy(&row).into_owned();
        for piece in text.chunks(size) {
            parts.pour(piece, |row| {
                rows.push(row.map(as_text));
                Ok(())
            })?;
            assert!(parts.held.len() <= LONGEST_VALUE);
        }
        let one = parts.finish()?;
        if shape == Shape::One {
            rows.push(Some(as_text(one)));
        }
        Ok(rows)
    }

    fn rows(text: &str) -> Vec<String> {
        parted(Shape::List, text.as_bytes(), 7).unwrap().into_iter().flatten().collect()
    }

    #[test]
    fn a_list_comes_apart_at_its_own_commas_only() {
        assert_eq!(rows(" [ ] \n"), [""; 0]);
        assert_eq!(
            rows(r#"[{"a":[1,{"b":2}],"c":"],[\"}{\\"},7 ,"x"]"#),
            [r#"{"a":[1,{"b":2}],"c":"],[\"}{\\"}"#, "7 ", r#""x""#]
        );
        assert_eq!(rows("[1,]"), ["1", ""], "for the reader of the row to refuse");
        assert_eq!(rows("[,]"), ["", ""]);
    }

    #[test]
    fn what_is_no_whole_list_is_refused() {
        for text in
            ["", " ", "<html>", "{}", "[", "[1", "[1,", "[\"]", "[{]", "[]]", "[] x", "null", "[\"\\\"]"]
        {
            assert!(parted(Shape::List, text.as_bytes(), 1).is_err(), "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_and_an_escape_never() {
        for (unit, kept) in [("a", 4096), ("é", 2048), (r"\n", 2048), (r"\u001f", 683), (r#"\""#, 2048)] {
            let text = format!(r#"{{"k":"{}","l":"x"}}"#, unit.repeat(300_000));
            let expected = format!(r#"{{"k":"{}","l":"x"}}"#, unit.repeat(kept));
            assert_eq!(parted(Shape::One, text.as_bytes(), 5_000).unwrap(), [Some(expected)], "{unit}");
        }
        let short = format!("[\"{}\"]", "a".repeat(LONGEST_TEXT));
        assert_eq!(rows(&short)[0].len(), LONGEST_TEXT + 2);
    }

    #[test]
    fn a_value_that_stays_too_long_costs_itself_and_no_other() {
        let long = format!("[{}1]", "1,".repeat(LONGEST_VALUE / 2));
        let list = format!("[1,{long},2]");
        let expected = [Some("1".to_owned()), None, Some("2".to_owned())];
        assert_eq!(parted(Shape::List, list.as_bytes(), 16 << 10).unwrap(), expected);
        assert_eq!(parted(Shape::List, format!("[{long}]").as_bytes(), 16 << 10).unwrap(), [None]);
        let refused = parted(Shape::One, long.as_bytes(), 16 << 10).unwrap_err();
        assert!(refused.to_string().contains("more than 2 MiB"), "{refused}");
    }

    proptest! {
        #[test]
        fn how_an_answer_is_cut_into_pieces_makes_no_difference(
            text in r#"[\[\]{}",:\\u0n é]{0,60}"#, list in any::<bool>(), size in 1_usize..9,
        ) {
            let shape = if list { Shape::List } else { Shape::One };
            let whole = parted(shape, text.as_bytes(), 1_000).map_err(|error| error.to_string());
            prop_assert_eq!(parted(shape, text.as_bytes(), size).map_err(|error| error.to_string()), whole);
        }

        #[test]
        fn rows_are_those_that_a_parser_of_json_finds(
            rows in prop::collection::vec(r#"(-?[1-9][0-9]?|"[a-z,\[\]{}é]{0,5}"|\{"[\[,]":\[\{\}, "\\\\\\"\]"\]\})"#, 0..6),
            size in 1_usize..9,
        ) {
            let text = format!("[{}]", rows.join(" , "));
            let parsed: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).unwrap();
            let found = parted(Shape::List, text.as_bytes(), size).unwrap();
            let found: Vec<_> = found.iter().flatten().map(|row| row.trim()).collect();
            let parsed: Vec<_> = parsed.iter().map(|row| row.get()).collect();
            prop_assert_eq!(found, parsed);
        }
    }
}
