//! The part of Go's regular expressions that names are looked for with: `^`, `$`, `.`, `*`, `+`, `?` and `\`
//! (pure).
//!
//! The Engine takes the value of `name` and `id` for a regular expression. Groups, classes, counts and
//! alternatives are refused: to take them for text would find something else.

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    from_start: bool,
    to_end: bool,
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// `None`: any character.
    is: Option<char>,
    may_be_absent: bool,
    may_repeat: bool,
}

impl Pattern {
    /// `None` if it says what cannot be looked for.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (from_start, text) = text.strip_prefix('^').map_or((false, text), |rest| (true, rest));
        let mut pattern = Self { from_start, to_end: false, pieces: Vec::new() };
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let is = match letter {
                '$' if letters.peek().is_none() => {
                    pattern.to_end = true;
                    continue;
                }
                '.' => None,
                // `\.`; `\d` is a class.
                '\\' => Some(letters.next().filter(|escaped| !escaped.is_alphanumeric())?),
                '^' | '$' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '*' | '+' | '?' => return None,
                other => Some(other),
            };
            let (may_be_absent, may_repeat) = match letters.peek() {
                Some('*') => (true, true),
                Some('+') => (false, true),
                Some('?') => (true, false),
                _ => (false, false),
            };
            if may_be_absent || may_repeat {
                letters.next();
            }
            pattern.pieces.push(Piece { is, may_be_absent, may_repeat });
        }
        Some(pattern)
    }

    /// Whether it is found in `text`. Takes time in proportion to both, whatever they are.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let last = self.pieces.len();
        // Where in the pattern one may be; the place after the last piece says that all of it was found.
        let mut places = vec![false; last + 1];
        self.enter(&mut places, 0);
        for letter in text.chars() {
            if places[last] && !self.to_end {
                return true;
            }
            let mut next = vec![false; last + 1];
            for (at, piece) in self.pieces.iter().enumerate().filter(|(at, _)| places[*at]) {
                if piece.is.is_none_or(|is| is == letter) {
                    self.enter(&mut next, at + 1);
                    if piece.may_repeat {
                        self.enter(&mut next, at);
                    }
                }
            }
            if !self.from_start {
                self.enter(&mut next, 0);
            }
            places = next;
        }
        places[last]
    }

    /// Comes to the piece `at`, and past those that may be absent.
    fn enter(&self, places: &mut [bool], at: usize) {
        for (number, place) in places.iter_mut().enumerate().skip(at) {
            *place = true;
            if self.pieces.get(number).is_none_or(|piece| !piece.may_be_absent) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_go_finds_them() {
        let name = "k8s_app_web-0_default_u1_2";
        for (pattern, found) in [
            ("", true),
            ("web", true),
            ("^k8s_app", true),
            ("^web", false),
            ("_2$", true),
            ("_1$", false),
            ("^k8s_app_web-0_default_u1_2$", true),
            ("^k8s_app_web-0$", false),
            ("app.*default", true),
            ("app.+u1", true),
            ("k8+s", true),
            ("k9?8s_", true),
            ("web.0", true),
            (r"web\.0", false),
            (r"web\-0", true),
            ("x*", true),
            ("^x*$", false),
            ("^.*$", true),
            ("^$", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().is_in(name), found, "{pattern}");
        }
        assert!(Pattern::parse("^$").unwrap().is_in(""));
        assert!(Pattern::parse("a?a?b$").unwrap().is_in("xaab"));
    }

    #[test]
    fn what_cannot_be_looked_for_is_refused() {
        for refused in ["a|b", "(a)", "[ab]", "a{2}", "*", "a**", "a^b", "a$b", r"\d", "\\"] {
            assert_eq!(Pattern::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn no_pattern_takes_long() {
        let hostile = Pattern::parse(&"a*".repeat(500)).unwrap();
        assert!(hostile.is_in(&"a".repeat(2000)));
        let hostile = Pattern::parse(&format!("^{}b$", "a*".repeat(500))).unwrap();
        assert!(!hostile.is_in(&"a".repeat(2000)));
    }
}
