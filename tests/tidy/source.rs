//! Rust text taken apart just far enough to be searched: code, string literals and comments, and
//! what is compiled for tests only.
//!
//! ```text
//! let path = "/proc"; // the host's      code: let path =        ; string: /proc
//! ```

/// One file. All line numbers count from 1.
pub(super) struct Source {
    /// Below the repository.
    pub(super) path: String,
    /// As it stands in the file.
    pub(super) text: String,
    /// The same, comments and the insides of literals blanked.
    pub(super) code: String,
    /// String literals and the lines they start on.
    pub(super) strings: Vec<(usize, String)>,
    /// Each line: compiled for tests only.
    pub(super) test_lines: Vec<bool>,
}

impl Source {
    /// Takes `text` apart. `test`: the whole file is compiled for tests only.
    pub(super) fn new(path: &str, text: &str, test: bool) -> Self {
        let (code, strings) = split(text);
        let test_lines = if test { vec![true; text.lines().count()] } else { test_lines(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, strings, test_lines }
    }

    /// The lines of code, those for tests only if `tests`.
    pub(super) fn lines(&self, tests: bool) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.code.lines().enumerate();
        numbered.filter(move |(i, _)| tests || !self.test_lines[*i]).map(|(i, line)| (i + 1, line))
    }

    /// The string literals outside of tests.
    pub(super) fn shipped_strings(&self) -> impl Iterator<Item = &(usize, String)> {
        self.strings.iter().filter(|(line, _)| !self.test_lines[line - 1])
    }

    /// Modules declared here that live in files of their own: name, `#[path]`, for tests only.
    pub(super) fn declared_modules(&self) -> Vec<(String, Option<String>, bool)> {
        let text: Vec<&str> = self.text.lines().collect();
        let mut modules = Vec::new();
        for (number, line) in self.lines(true) {
            let tail = line.trim().strip_suffix(';').and_then(|line| line.rsplit_once("mod "));
            let Some((before, name)) = tail else { continue };
            if !before.trim().is_empty() && !before.trim().starts_with("pub") {
                continue;
            }
            let attributes = text[..number - 1].iter().rev().take_while(|line| line.trim().starts_with("#["));
            let path =
                attributes.filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
            let path = path.map(str::to_owned).next();
            modules.push((name.trim().to_owned(), path, self.test_lines[number - 1]));
        }
        modules
    }
}

/// Blanks comments and the insides of literals; keeps every line break.
fn split(text: &str) -> (String, Vec<(usize, String)>) {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut strings = Vec::new();
    let (mut i, mut line) = (0, 1);
    let blank = |code: &mut String, line: &mut usize, chars: &[char]| {
        for c in chars {
            *line += usize::from(*c == '\n');
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
    };
    while i < chars.len() {
        let rest = &chars[i..];
        let starts = |with: &str| with.chars().eq(rest.iter().copied().take(with.len()));
        if starts("//") {
            let end = rest.iter().position(|c| *c == '\n').unwrap_or(rest.len());
            blank(&mut code, &mut line, &rest[..end]);
            i += end;
        } else if starts("/*") {
            let end = comment(rest);
            blank(&mut code, &mut line, &rest[..end]);
            i += end;
        } else if let Some((open, end)) = string(rest, i.checked_sub(1).map(|before| chars[before])) {
            strings.push((
                line,
                rest[open..end].iter().collect::<String>().trim_end_matches(['#', '"']).to_owned(),
            ));
            blank(&mut code, &mut line, &rest[..end]);
            i += end;
        } else {
            let end = character(rest).unwrap_or(1);
            if end == 1 {
                line += usize::from(rest[0] == '\n');
                code.push(rest[0]);
            } else {
                blank(&mut code, &mut line, &rest[..end]);
            }
            i += end;
        }
    }
    (code, strings)
}

/// The length of a block comment; they nest.
fn comment(rest: &[char]) -> usize {
    let (mut depth, mut i) = (0, 0);
    while i + 1 < rest.len() {
        match (rest[i], rest[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            return i;
        }
    }
    rest.len()
}

/// Where the inside of a string literal starts and where the literal ends.
fn string(rest: &[char], before: Option<char>) -> Option<(usize, usize)> {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let prefix = rest.iter().take_while(|c| matches!(c, 'b' | 'c' | 'r') && !in_word).count();
    let raw = prefix > 0 && rest[prefix - 1] == 'r';
    let hashes = if raw { rest[prefix..].iter().take_while(|c| **c == '#').count() } else { 0 };
    let open = prefix + hashes + 1;
    if prefix > 2 || rest.get(open - 1) != Some(&'"') {
        return None;
    }
    let mut i = open;
    while i < rest.len() {
        match rest[i] {
            '\\' if !raw => i += 1,
            '"' if rest[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes => {
                return Some((open, i + 1 + hashes));
            }
            _ => {}
        }
        i += 1;
    }
    Some((open, rest.len()))
}

/// The length of a character literal; `None` for a lifetime or anything else.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', _, ..] => rest.iter().skip(3).position(|c| *c == '\'').map(|end| end + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

/// Marks the items under `#[cfg(test)]`.
fn test_lines(code: &str) -> Vec<bool> {
    let mut marked = vec![false; code.lines().count()];
    for (start, attribute) in code.match_indices("#[cfg(test)]") {
        let after = start + attribute.len();
        let end = code[after..].find(['{', ';']).map_or(code.len(), |at| match code.as_bytes()[after + at] {
            b'{' => closing(code, after + at),
            _ => after + at + 1,
        });
        let line = |at: usize| code[..at].matches('\n').count();
        let last = line(end).min(marked.len() - 1);
        marked[line(start)..=last].fill(true);
    }
    marked
}

/// Past the brace that closes the one at `open`.
fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0usize;
    for (i, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return open + i + 1,
            '}' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_not_code() {
    let source = Source::new(
        "x.rs",
        "use a; // crate::b\n/* c /* d */\n e */ f(\"g\\\"h\", r#\"i\"j\"#, b'k', '\\'', \"l\nm\");\nn::<'o>()",
        false,
    );
    assert_eq!(source.code.split_whitespace().collect::<String>(), "usea;f(,,b,,);n::<'o>()");
    let strings: Vec<(usize, &str)> =
        source.strings.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(strings, [(3, "g\\\"h"), (3, "i\"j"), (3, "l\nm")]);
}

#[test]
fn what_is_under_cfg_test_is_marked() {
    let source = Source::new("x.rs", "a\n#[cfg(test)]\nmod b {\n  { }\n}\nc\n#[cfg(test)]\nmod d;\ne", false);
    assert_eq!(source.test_lines, [false, true, true, true, true, false, true, true, false]);
}

#[test]
fn modules_in_files_of_their_own_are_found() {
    let text =
        "pub mod a;\nmod b { }\n#[cfg(test)]\n#[path = \"c_tests.rs\"]\nmod c;\n// mod d;\npub(crate) mod e;";
    let found = Source::new("x.rs", text, false).declared_modules();
    let expected = [("a", None, false), ("c", Some("c_tests.rs"), true), ("e", None, false)];
    let expected = expected.map(|(name, path, test)| (name.to_owned(), path.map(str::to_owned), test));
    assert_eq!(found, expected);
}
