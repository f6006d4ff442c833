//! The report: every check, and whether the core job works.

use serde::Serialize;

use super::Check;
use super::Core;
use super::Verdict;
use crate::command::table::printable;
use crate::command::table::width;

/// Columns of a line of text before it goes on in the next.
const LINE: usize = 118;

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Of what.
    pub(super) version: &'static str,
    /// Where.
    pub(super) node: String,
    /// Under which kernel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kernel: Option<String>,
    /// Whether the core job works.
    pub(super) works: bool,
    /// The parts of it that do not.
    pub(super) broken: Vec<Core>,
    /// Everything that was looked at.
    pub(super) checks: Vec<Check>,
}

impl Report {
    pub(super) fn new(node: String, kernel: Option<String>, checks: Vec<Check>) -> Self {
        let mut broken: Vec<Core> = checks.iter().flat_map(|check| check.breaks.iter().copied()).collect();
        broken.sort();
        broken.dedup();
        Self { version: env!("CARGO_PKG_VERSION"), node, kernel, works: broken.is_empty(), broken, checks }
    }

    /// What does not work, in words.
    pub(super) fn broken(&self) -> Vec<&'static str> {
        self.broken.iter().map(|core| core.word()).collect()
    }

    /// For people.
    pub(super) fn text(&self, colours: bool) -> String {
        let kernel = self.kernel.as_deref().map(|kernel| format!(", Linux {}", printable(kernel)));
        let (node, kernel) = (printable(&self.node), kernel.unwrap_or_default());
        let mut text = format!("podvitals {} on {node}{kernel}\n", self.version);
        let wide =
            self.checks.iter().map(|check| width(check.check)).max().unwrap_or(0).max("consequence".len());
        let mut part = "";
        for check in &self.checks {
            if check.part != part {
                part = check.part;
                text.push_str(&format!("\n{part}\n"));
            }
            let found = format!("{}: {}", check.looked_at, check.found);
            line(&mut text, &painted(check.verdict, colours), check.check, wide, &found);
            for (title, words) in [("consequence", &check.consequence), ("cure", &check.cure)] {
                if let Some(words) = words {
                    line(&mut text, "       ", title, wide, words);
                }
            }
        }
        let notices = self.checks.iter().filter(|check| check.verdict == Verdict::Notice).count();
        let notices = if notices == 1 { "1 notice".to_owned() } else { format!("{notices} notices") };
        let end = match &self.broken()[..] {
            [] => format!("the core job works here; {notices}"),
            broken => format!("the core job does not work here: {}; {notices}", broken.join(", ")),
        };
        text.push_str(&format!("\n{end}\n"));
        text
    }
}

/// The verdict, seven columns wide.
fn painted(verdict: Verdict, colours: bool) -> String {
    let (word, colour) = match verdict {
        Verdict::Ok => ("ok     ", "32"),
        Verdict::Notice => ("notice ", "33"),
        Verdict::Problem => ("problem", "31"),
    };
    if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() }
}

/// One line, which goes on under itself.
fn line(text: &mut String, verdict: &str, title: &str, wide: usize, words: &str) {
    let indent = 2 + 7 + 3 + wide + 3;
    let words = printable(words);
    text.push_str(&format!("  {verdict}   {title}{}   ", " ".repeat(wide - width(title))));
    let mut column = indent;
    for (i, word) in words.split_whitespace().enumerate() {
        if i > 0 && column + 1 + width(word) > LINE {
            text.push_str(&format!("\n{}", " ".repeat(indent)));
            column = indent;
        } else if i > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width(word);
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let fine = Check::ok("cgroups", "mode", "/c", "version 2");
        let notice = Check::ok("cgroups", "io", "/c", "off").notice("no block I/O", "turn it on");
        let broken = Check::ok("processes", "process 1", "/p/1/stat", "not\u{1b}there").problem(
            &[Core::Network, Core::Pods],
            "nothing is seen and this is said in so many words that they do not fit into one line of text, are they",
            "see",
        );
        Report::new("n1".into(), Some("6.18".into()), vec![fine, notice, broken])
    }

    #[test]
    fn every_check_stands_in_its_part_with_consequence_and_cure() {
        let expected = "\
podvitals 0.1.0 on n1, Linux 6.18

cgroups
  ok        mode          /c: version 2
  notice    io            /c: off
            consequence   no block I/O
            cure          turn it on

processes
  problem   process 1     /p/1/stat: not\\u{1b}there
            consequence   nothing is seen and this is said in so many words that they do not fit into one line of
                          text, are they
            cure          see

the core job does not work here: pods, network; 1 notice
";
        assert_eq!(report().text(false), expected);
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let text = report().text(true);
        assert!(text.contains("\x1b[31mproblem\x1b[0m") && text.contains("\x1b[33mnotice \x1b[0m"), "{text}");
        let plain = ["31", "32", "33", "0"]
            .iter()
            .fold(text, |text, code| text.replace(&format!("\x1b[{code}m"), ""));
        assert_eq!(plain, report().text(false));
    }

    #[test]
    fn the_document_says_what_works() {
        let document = serde_json::to_value(report()).unwrap();
        assert_eq!(document["works"], false);
        assert_eq!(document["broken"], serde_json::json!(["pods", "network"]));
        assert_eq!(
            document["checks"][0],
            serde_json::json!({
                "part": "cgroups", "check": "mode", "verdict": "ok", "lookedAt": "/c", "found": "version 2",
            })
        );
        assert_eq!(document["checks"][2]["breaks"], serde_json::json!(["network", "pods"]));
        let fine = Report::new("n1".into(), None, vec![Check::ok("a", "b", "c", "d")]);
        assert!(fine.works && fine.text(false).ends_with("the core job works here; 0 notices\n"));
    }
}
