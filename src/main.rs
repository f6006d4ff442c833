//! Arguments → command → exit code.
//!
//! Messages go to stderr, data to stdout. 0: done. 1: failed. 2: bad usage. 78 (`EX_CONFIG` of
//! `sysexits.h`): a configuration value that cannot be used.

mod cli;

use std::error::Error;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use podvitals::command::{self, Explain, Form, Get, Origin, Told, Trust};
use podvitals::config::{self, Config, ConfigError, LogFormat, LogLevel};
use podvitals::pipeline::{self, PipelineError};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use cli::{Action, DoctorArgs, DoctorOutput, ExplainArgs, ExplainOutput, GetArgs, Knobs, OriginArgs};

/// `EX_CONFIG`.
const BAD_CONFIG: u8 = 78;

fn main() -> ExitCode {
    match run(cli::parse().action) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let Some(code) = exit_code(&error) else { return ExitCode::SUCCESS };
            // Nowhere to say it if stderr is closed too.
            let _ = writeln!(io::stderr(), "podvitals: {error:#}");
            ExitCode::from(code)
        }
    }
}

/// `None`: whoever read our output has had enough, which is no failure of ours.
fn exit_code(error: &anyhow::Error) -> Option<u8> {
    let broken_pipe = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    let refused = |cause: &(dyn Error + 'static)| {
        cause.is::<ConfigError>()
            || cause.downcast_ref::<PipelineError>().is_some_and(PipelineError::is_configuration)
    };
    match error {
        _ if error.chain().any(broken_pipe) => None,
        _ if error.chain().any(refused) => Some(BAD_CONFIG),
        _ => Some(1),
    }
}

fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::Serve(knobs) => serve(&knobs),
        Action::Get(asked) => get(asked),
        Action::Explain(asked) => explain(asked),
        Action::Doctor(asked) => doctor(asked),
        Action::Completions { shell } => completions(shell),
        Action::Man { command } => man(command.as_deref()),
    }
}

fn serve(knobs: &Knobs<false>) -> anyhow::Result<()> {
    let config = Config::from_vars(|variable| knobs.lookup(variable))?;
    start_log(config.log_format, config.log_level);
    let listen = config.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    tracing::info!(version = env!("CARGO_PKG_VERSION"), %listen, "starting");
    warn_of_strangers();
    runtime()?.block_on(async {
        let stop = told_to_stop()?;
        Ok(pipeline::run(config, stop).await?)
    })
}

/// The names in our environment.
fn variables() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
}

/// A variable that is spelt wrongly would else be a knob that does nothing.
fn warn_of_strangers() {
    for stranger in config::strangers(variables().iter().map(String::as_str)) {
        match config::closest(stranger) {
            Some(knob) => tracing::warn!(variable = stranger, "no such knob: is {knob} meant?"),
            None => tracing::warn!(variable = stranger, "no such knob: see `podvitals serve --help`"),
        }
    }
}

/// The signals of an operator (Ctrl-C) and of the kubelet (SIGTERM), caught from now on.
fn told_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "told to stop"),
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "told to stop"),
        }
    })
}

fn get(asked: GetArgs) -> anyhow::Result<()> {
    let request = Get {
        kind: asked.kind.into(),
        namespace: asked.namespace,
        selector: asked.selector,
        output: asked.output.into(),
        sort_by: asked.sort_by,
        watch: asked.watch,
        titles: !asked.no_headers,
    };
    runtime()?.block_on(async {
        let origin = origin(asked.origin).await?;
        let stdout = io::stdout();
        let screen = stdout.is_terminal();
        Ok(command::get(&request, &origin, &mut BufWriter::new(stdout), screen).await?)
    })
}

fn explain(asked: ExplainArgs) -> anyhow::Result<()> {
    let request = Explain { pod: asked.pod, json: asked.output == ExplainOutput::Json };
    runtime()?.block_on(async {
        let origin = origin(asked.origin).await?;
        Ok(command::explain(&request, &origin, &mut BufWriter::new(io::stdout())).await?)
    })
}

fn doctor(mut asked: DoctorArgs) -> anyhow::Result<()> {
    let serving = command::arguments_of_process_1().and_then(|words| cli::of_serve(&words));
    let flags = serving.map(|knobs| asked.knobs.under(knobs));
    let config = Config::from_vars(|variable| asked.knobs.lookup(variable))?;
    let stdout = io::stdout();
    let form = match asked.output {
        DoctorOutput::Text => Form::Text { colours: stdout.is_terminal() && !plain() },
        DoctorOutput::Json => Form::Json,
        DoctorOutput::Yaml => Form::Yaml,
    };
    let told = Told { variables: variables(), flags };
    Ok(runtime()?.block_on(command::doctor(&config, &told, form, &mut BufWriter::new(stdout)))?)
}

/// `NO_COLOR` (no-color.org): set to anything but nothing.
fn plain() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

async fn origin(asked: OriginArgs) -> anyhow::Result<Origin> {
    if !asked.direct {
        let trust =
            Trust { token_file: asked.token_file, ca: asked.ca, insecure: asked.insecure_skip_tls_verify };
        return Ok(Origin::Server(asked.server.trusting(trust)));
    }
    let config = Config::from_vars(|variable| asked.knobs.lookup(variable))?;
    // What goes wrong on the way belongs beside the table, what goes well does not.
    start_log(LogFormat::Text, LogLevel::Warn);
    Ok(Origin::direct(config).await?)
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut cli::command(None), "podvitals", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

fn man(of: Option<&str>) -> anyhow::Result<()> {
    let mut whole = cli::command(None);
    whole.build();
    let page = match of {
        None => whole,
        Some(name) => {
            let found = whole.find_subcommand(name).cloned();
            let found = found.with_context(|| format!("{name}: no such command"))?;
            found.name(format!("podvitals-{name}"))
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    Ok(io::stdout().write_all(&text)?)
}

fn runtime() -> anyhow::Result<Runtime> {
    // Two workers serve any number of readers of one node; one for each core of a large host would
    // only cost memory.
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().context("cannot start the async runtime")
}

/// Logs to stderr. Of other people's crates only what is wrong: a client that hangs up is no news.
fn start_log(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let others = level.min(LevelFilter::WARN);
    let filter = Targets::new()
        .with_default(others)
        .with_target("podvitals", level)
        // What befalls a connection to the API server, our own loop says, once for each change.
        .with_target("kube_client", LevelFilter::OFF)
        .with_target("warp", LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let logs = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Json => logs.with(lines.json()).init(),
        LogFormat::Text => {
            logs.with(lines.with_ansi(io::stderr().is_terminal() && !plain())).init();
        }
    }
}
