//! The command line: what can be typed, and the help for it.
//!
//! The flags of `serve` are not written down here: each is a knob of [`KNOBS`], so that flag,
//! environment, help and default cannot drift apart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use podvitals::command::{DEFAULT_SERVER, Kind, Output, Server};
use podvitals::config::{KNOBS, Knob};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 bad usage, 78 a configuration value that cannot be used.
Messages go to stderr, data to stdout; NO_COLOR is honoured.";

const DOCTOR: &str = "\
Takes the settings of `serve` and looks at what `serve` would meet with them. Changes nothing.
Where process 1 is `podvitals serve`, as in a pod, its flags count unless they are given here too.
Exit codes: 0 the core job works here, 1 a part of it does not and is named, 78 as for `serve`.";

/// The vital signs of every pod on a Kubernetes node: CPU, memory, block I/O and network, each second
#[derive(Parser)]
#[command(name = "podvitals", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Action {
    /// Samples this node and serves what it saw, until told to stop
    Serve(Knobs<false>),
    /// Prints pods, containers or the node
    Get(GetArgs),
    /// Shows how one pod was found, link by link, with the evidence and what is missing
    Explain(ExplainArgs),
    /// Tells what this host lets podvitals read and what not, each with its consequence and its cure
    #[command(after_help = DOCTOR)]
    Doctor(DoctorArgs),
    /// Prints a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual page, or that of one command, as roff
    Man {
        /// Which command
        command: Option<String>,
    },
}

/// `get`.
#[derive(Args)]
pub(crate) struct GetArgs {
    /// What to list
    #[arg(value_enum)]
    pub(crate) kind: KindArg,
    /// Of this namespace only
    #[arg(short, long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Of all namespaces: the default, since the list ends at the node
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub(crate) all_namespaces: bool,
    /// With these labels only: app=web, 'tier in (a,b)', !canary
    #[arg(short = 'l', long, value_name = "LABELS")]
    pub(crate) selector: Option<String>,
    /// In which form
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: OutputArg,
    /// A column such as cpu, or a path such as memory.anonBytes; -cpu for the largest first
    #[arg(long, value_name = "COLUMN|PATH", allow_hyphen_values = true)]
    pub(crate) sort_by: Option<String>,
    /// Again each interval, until Ctrl-C; a terminal is redrawn, a file appended to
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// No titles above the columns
    #[arg(long)]
    pub(crate) no_headers: bool,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
}

/// `explain`.
#[derive(Args)]
pub(crate) struct ExplainArgs {
    /// Which pod; a UID may be the API server's or the one in the cgroup's name
    #[arg(value_name = "NAMESPACE/POD|UID")]
    pub(crate) pod: String,
    /// In which form
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: ExplainOutput,
    #[command(flatten)]
    pub(crate) origin: OriginArgs,
}

/// `doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// In which form
    #[arg(short, long, value_enum, default_value = "text")]
    pub(crate) output: DoctorOutput,
    #[command(flatten)]
    pub(crate) knobs: Knobs<false>,
}

/// Where the figures come from.
#[derive(Args)]
pub(crate) struct OriginArgs {
    /// The podvitals to ask: http://host:port, https://host:port or unix:///path
    #[arg(long, value_name = "URL", env = "PODVITALS_SERVER", default_value = DEFAULT_SERVER, hide_env_values = true)]
    pub(crate) server: Server,
    /// File of the bearer token to show, over https only [default: the pod's own, unless the certificate is
    /// not checked]
    #[arg(long, value_name = "FILE", env = "PODVITALS_TOKEN_FILE", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the certificate of an https server
    #[arg(long, value_name = "FILE", conflicts_with = "insecure_skip_tls_verify")]
    pub(crate) ca: Option<PathBuf>,
    /// Take the certificate of an https server whoever signed it
    #[arg(long)]
    pub(crate) insecure_skip_tls_verify: bool,
    /// Ask nobody: sample this host itself, which needs no daemon
    #[arg(long)]
    pub(crate) direct: bool,
    #[command(flatten)]
    pub(crate) knobs: Knobs<true>,
}

/// The kinds of lists, as they are typed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum KindArg {
    /// Every pod of the node
    #[value(aliases = ["pod", "po"])]
    Pods,
    /// Every container of the node
    #[value(alias = "container")]
    Containers,
    /// The node itself
    #[value(aliases = ["nodes", "no"])]
    Node,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Pods => Self::Pods,
            KindArg::Containers => Self::Containers,
            KindArg::Node => Self::Node,
        }
    }
}

/// The forms of a list, as they are typed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum OutputArg {
    /// What fits a terminal
    Table,
    /// All columns
    Wide,
    /// The server's document
    Json,
    /// The same as YAML
    Yaml,
    /// One name a line
    Name,
}

impl From<OutputArg> for Output {
    fn from(output: OutputArg) -> Self {
        match output {
            OutputArg::Table => Self::Table,
            OutputArg::Wide => Self::Wide,
            OutputArg::Json => Self::Json,
            OutputArg::Yaml => Self::Yaml,
            OutputArg::Name => Self::Name,
        }
    }
}

/// The forms of an explanation, as they are typed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExplainOutput {
    /// For people
    Text,
    /// For machines
    Json,
}

/// The forms of a report, as they are typed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DoctorOutput {
    /// For people
    Text,
    /// For machines
    Json,
    /// The same as YAML
    Yaml,
}

/// Values of knobs by variable: from the flag, else from the environment. `DIRECT`: only those that
/// matter when this process samples for itself.
pub(crate) struct Knobs<const DIRECT: bool>(BTreeMap<&'static str, Given>);

/// The value of a knob, and whether a flag gave it.
struct Given {
    value: String,
    by_flag: bool,
}

/// Knobs of `serve` that say nothing to a command that samples once and leaves.
const FOR_SERVING: &[&str] = &[
    "PODVITALS_LISTEN",
    "PODVITALS_TLS_CERT",
    "PODVITALS_TLS_KEY",
    "PODVITALS_CLIENT_CA",
    "PODVITALS_INSECURE_PUBLIC",
    "PODVITALS_HTTP2",
    "PODVITALS_LOG_FORMAT",
    "PODVITALS_LOG_LEVEL",
];

impl<const DIRECT: bool> Knobs<DIRECT> {
    /// The value of a variable; `None` where neither flag nor environment has one.
    pub(crate) fn lookup(&self, variable: &str) -> Option<String> {
        self.0.get(variable).map(|given| given.value.clone())
    }

    /// Takes over what flags of `other` gave and no flag of our own did. Returns these flags.
    pub(crate) fn under(&mut self, other: Self) -> Vec<String> {
        let mut taken = Vec::new();
        for (variable, given) in other.0 {
            let is_ours = self.0.get(variable).is_some_and(|own| own.by_flag);
            if given.by_flag && !is_ours {
                let knob = KNOBS.iter().find(|knob| knob.variable == variable);
                taken.extend(knob.map(|knob| format!("--{}={}", knob.flag(), given.value)));
                self.0.insert(variable, given);
            }
        }
        taken
    }

    fn knobs() -> impl Iterator<Item = &'static Knob> {
        KNOBS.iter().filter(|knob| !DIRECT || !FOR_SERVING.contains(&knob.variable))
    }
}

impl<const DIRECT: bool> FromArgMatches for Knobs<DIRECT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Self::knobs().filter_map(|knob| {
            let values = matches.get_many::<String>(knob.variable)?.map(String::as_str);
            let by_flag = matches.value_source(knob.variable) == Some(ValueSource::CommandLine);
            Some((knob.variable, Given { value: values.collect::<Vec<_>>().join(","), by_flag }))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

impl<const DIRECT: bool> Args for Knobs<DIRECT> {
    fn augment_args(command: Command) -> Command {
        command.args(Self::knobs().map(flag::<DIRECT>))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// One knob as a flag. Its value stays text: `config` alone says what is accepted.
fn flag<const DIRECT: bool>(knob: &'static Knob) -> Arg {
    let help = match knob.default {
        "" => knob.help.to_owned(),
        default => format!("{} [default: {default}]", knob.help),
    };
    let flag = Arg::new(knob.variable).long(knob.flag()).env(knob.variable).hide_env_values(true).help(help);
    let flag = if DIRECT { flag.help_heading("With --direct") } else { flag };
    match knob.default {
        // `--insecure-public` alone says yes; `=false` undoes what the environment says.
        "true" | "false" => {
            flag.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
        }
        _ if knob.variable == "PODVITALS_LISTEN" => flag.action(ArgAction::Append).value_name("ADDRESS"),
        _ => flag.value_name("VALUE"),
    }
}

/// The whole command line under the name it was called by.
pub(crate) fn command(called: Option<&OsString>) -> Command {
    let plugin = called.and_then(|path| Path::new(path).file_name()).is_some_and(|name| name == PLUGIN);
    if plugin { Cli::command().bin_name("kubectl podvitals") } else { Cli::command() }
}

/// The file name under which `kubectl` finds its plugin.
const PLUGIN: &str = "kubectl-podvitals";

/// The knobs of another podvitals that serves, by the words it was started with; `None` if it does not.
pub(crate) fn of_serve(words: &[String]) -> Option<Knobs<false>> {
    let read = command(None).try_get_matches_from(words).ok()?;
    match Cli::from_arg_matches(&read).ok()?.action {
        Action::Serve(knobs) => Some(knobs),
        _ => None,
    }
}

/// Reads the command line; prints help or a complaint and ends the process where there is nothing to
/// do.
pub(crate) fn parse() -> Cli {
    let mut command = command(std::env::args_os().next().as_ref());
    let read = command.try_get_matches_from_mut(std::env::args_os());
    match read.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => error.format(&mut command).exit(),
    }
}
