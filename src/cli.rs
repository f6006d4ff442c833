//! The command line: what can be typed, and the help for it.
//!
//! The flags of `serve` are not written down here: each is a knob of [`KNOBS`], so that flag,
//! environment, help and default cannot drift apart.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum,
};
use podvitals::command::{DEFAULT_SERVER, Kind, Output, Server};
use podvitals::config::{KNOBS, Knob};

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 bad usage, 78 a configuration value that cannot be used.
Messages go to stderr, data to stdout; NO_COLOR is honoured.";

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

/// Where the figures come from.
#[derive(Args)]
pub(crate) struct OriginArgs {
    /// The podvitals to ask: http://host:port or unix:///path
    #[arg(long, value_name = "URL", env = "PODVITALS_SERVER", default_value = DEFAULT_SERVER, hide_env_values = true)]
    pub(crate) server: Server,
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

/// Values of knobs by variable: from the flag, else from the environment. `DIRECT`: only those that
/// matter when this process samples for itself.
pub(crate) struct Knobs<const DIRECT: bool>(BTreeMap<&'static str, String>);

/// Knobs of `serve` that say nothing to a command that samples once and leaves.
const FOR_SERVING: &[&str] =
    &["PODVITALS_LISTEN", "PODVITALS_INSECURE_PUBLIC", "PODVITALS_LOG_FORMAT", "PODVITALS_LOG_LEVEL"];

impl<const DIRECT: bool> Knobs<DIRECT> {
    /// The value of a variable; `None` where neither flag nor environment has one.
    pub(crate) fn lookup(&self, variable: &str) -> Option<String> {
        self.0.get(variable).cloned()
    }

    fn knobs() -> impl Iterator<Item = &'static Knob> {
        KNOBS.iter().filter(|knob| !DIRECT || !FOR_SERVING.contains(&knob.variable))
    }
}

impl<const DIRECT: bool> FromArgMatches for Knobs<DIRECT> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Self::knobs().filter_map(|knob| {
            let values = matches.get_many::<String>(knob.variable)?.map(String::as_str);
            Some((knob.variable, values.collect::<Vec<_>>().join(",")))
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
