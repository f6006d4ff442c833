//! The command line: words in order, options anywhere. A page of code instead of a crate, because
//! this program is built for every testbed.

use std::str::FromStr;

use anyhow::{Context, Result, bail};

/// What is left of the command line.
pub(crate) struct Arguments {
    left: Vec<String>,
}

impl Arguments {
    /// Without the program's name.
    pub(crate) fn from_env() -> Self {
        Self { left: std::env::args().skip(1).collect() }
    }

    /// The next word. Take options first: what is then at the front is a word.
    pub(crate) fn word(&mut self, name: &str) -> Result<String> {
        match self.left.first() {
            Some(word) if !word.starts_with("--") => Ok(self.left.remove(0)),
            _ => bail!("{name} missing"),
        }
    }

    /// Everything after `--`: another program's command line. Take it first.
    pub(crate) fn command(&mut self) -> Result<Vec<String>> {
        let at = self.left.iter().position(|word| word == "--").context("-- COMMAND missing")?;
        let command = self.left.split_off(at + 1);
        self.left.truncate(at);
        Ok(command)
    }

    /// `TEXT` of `name TEXT`.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.option(name)?.map(|[value]| value))
    }

    /// The next word as a number.
    pub(crate) fn word_number<N: FromStr>(&mut self, name: &str) -> Result<N> {
        let word = self.word(name)?;
        word.parse().ok().with_context(|| format!("{name}: '{word}' is not a number"))
    }

    /// The next word as a size in bytes.
    pub(crate) fn word_size(&mut self, name: &str) -> Result<u64> {
        let word = self.word(name)?;
        parse_size(&word).with_context(|| format!("{name}: '{word}' is not a size"))
    }

    /// `N` of `name N`.
    pub(crate) fn number<N: FromStr>(&mut self, name: &str) -> Result<Option<N>> {
        let Some([value]) = self.option(name)? else { return Ok(None) };
        value.parse().map(Some).ok().with_context(|| format!("{name}: '{value}' is not a number"))
    }

    /// `SIZE` of `name SIZE`, in bytes.
    pub(crate) fn size(&mut self, name: &str) -> Result<Option<u64>> {
        let Some([value]) = self.option(name)? else { return Ok(None) };
        parse_size(&value).map(Some).with_context(|| format!("{name}: '{value}' is not a size"))
    }

    /// `PATH` and `SIZE` of `name PATH SIZE`.
    pub(crate) fn path_and_size(&mut self, name: &str) -> Result<Option<(String, u64)>> {
        let Some([path, value]) = self.option(name)? else { return Ok(None) };
        let size = parse_size(&value).with_context(|| format!("{name}: '{value}' is not a size"))?;
        Ok(Some((path, size)))
    }

    /// Refuses what nobody asked for.
    pub(crate) fn end(self) -> Result<()> {
        match self.left.first() {
            None => Ok(()),
            Some(extra) => bail!("'{extra}' is not understood here"),
        }
    }

    fn option<const N: usize>(&mut self, name: &str) -> Result<Option<[String; N]>> {
        let Some(at) = self.left.iter().position(|word| word == name) else { return Ok(None) };
        if self.left.len() < at + 1 + N {
            bail!("{name}: value missing");
        }
        let values: Vec<String> = self.left.drain(at..=at + N).skip(1).collect();
        Ok(values.try_into().ok())
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" => 1,
        "k" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Arguments {
        Arguments { left: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    #[test]
    fn a_size_is_bytes_or_has_a_unit() {
        assert_eq!(parse_size("17"), Some(17));
        assert_eq!(parse_size("6G"), Some(6_000_000_000));
        assert_eq!(parse_size("50MiB"), Some(52_428_800));
        assert_eq!(parse_size("50mb"), None);
        assert_eq!(parse_size("M"), None);
        assert_eq!(parse_size("99999999999G"), None);
    }

    #[test]
    fn options_stand_anywhere_and_words_in_order() {
        let mut given = given(&["10.0.0.1", "--bytes", "1k", "5001"]);
        assert_eq!(given.size("--bytes").unwrap(), Some(1000));
        assert_eq!(given.size("--receive").unwrap(), None);
        assert_eq!(given.word("ADDRESS").unwrap(), "10.0.0.1");
        assert_eq!(given.word_number::<u16>("PORT").unwrap(), 5001);
        given.end().unwrap();
    }

    #[test]
    fn another_program_s_options_are_not_ours() {
        let mut given = given(&["--netns", "new", "--", "spin", "--netns", "3"]);
        assert_eq!(given.command().unwrap(), ["spin", "--netns", "3"]);
        assert_eq!(given.text("--netns").unwrap().as_deref(), Some("new"));
        assert!(given.command().is_err());
        given.end().unwrap();
    }

    #[test]
    fn an_option_without_its_value_and_an_unknown_word_are_refused() {
        assert!(given(&["--bytes"]).size("--bytes").is_err());
        assert!(given(&["--tmpfs", "/dev/shm/x"]).path_and_size("--tmpfs").is_err());
        assert!(given(&["--bites", "1"]).word("ADDRESS").is_err());
        assert!(given(&["--bites", "1"]).end().is_err());
    }
}
