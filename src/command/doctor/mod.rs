//! `doctor`: what this host lets us read and what not, each with its consequence and its cure.
//!
//! `host` and `kubernetes` read, the files here judge: every check is a function of values, so that each
//! verdict can be had without the host that deserves it.
//!
//! ```text
//! processes
//!   problem   process 1        /host/proc/1/stat: not there; the mount hides processes (hidepid=invisible)
//!             consequence      pods' networks are absent, reason hidepid
//!             cure             …
//! ```

mod cgroups;
mod check;
mod limits;
mod names;
mod permissions;
mod processes;
mod report;
mod serving;

use std::io::Write;
use std::sync::Arc;

use crate::config::AskedSource;
use crate::config::Config;
use crate::config::closest;
use crate::config::strangers;
use crate::host::HostRoot;
use crate::host::facts::Machine;
use crate::host::facts::cgroups::Cgroups;
use crate::host::facts::limits::Limits;
use crate::host::facts::permissions::Permissions;
use crate::host::facts::processes::Processes;
use crate::host::facts::sockets::Knock;
use crate::host::facts::sockets::knock;
use crate::host::facts::sockets::knock_at;
use crate::host::node::host_name;
use crate::kubernetes::client::ApiServer;
use crate::kubernetes::kubelet::Kubelet;
use crate::model::health::Health;
use crate::pipeline;

use self::check::Check;
use self::check::Core;
use self::check::Verdict;
use self::names::Answer;
use self::names::Names;
use self::names::Refused;
use self::names::Socket;
use self::report::Report;
use super::CommandError;
use super::get::json;
use super::get::yaml;

/// In which form the report is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text {
        /// Verdicts in colour.
        colours: bool,
    },
    /// One JSON document on one line.
    Json,
    /// The same as YAML.
    Yaml,
}

/// Where the configuration came from, as far as that is worth a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The names in our environment.
    pub variables: Vec<String>,
    /// The flags that were taken over from the podvitals that serves as process 1; `None`: none does.
    pub flags: Option<Vec<String>>,
}

/// Looks at this host as `serve` with this configuration would meet it, and prints what it found.
///
/// # Errors
/// [`CommandError::Unfit`] if a part of the core job does not work here; nowhere to print.
pub async fn doctor(
    config: &Config,
    told: &Told,
    form: Form,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let report = examine(config, told).await;
    let text = match form {
        Form::Text { colours } => report.text(colours),
        Form::Json => json(&report)?,
        Form::Yaml => yaml(&report)?,
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    let broken = report.broken();
    if broken.is_empty() { Ok(()) } else { Err(CommandError::Unfit { broken: broken.join(", ") }) }
}

async fn examine(config: &Config, told: &Told) -> Report {
    let root = HostRoot::new(config.proc_root.clone(), config.cgroup_root.clone());
    let machine = Machine::read(&root);
    let cgroups = Cgroups::read(&root);
    let tree = cgroups.tree.as_ref().ok();
    let containers = tree.map(|tree| tree.containers.clone()).unwrap_or_default();
    let processes = Processes::read(&root, &containers);
    let permissions = Permissions::read(&root);
    let limits = Limits::read(&root, tree);
    let names = ask(config, &root, tree.map_or(0, |tree| tree.pods())).await;

    let mut checks = settings(told);
    checks.extend(cgroups::judge(&cgroups));
    checks.extend(processes::judge(&processes, config.network_source));
    checks.extend(permissions::judge(&permissions));
    checks.extend(names::judge(&names));
    checks.extend(serving::judge(&serving::Places::read(config, names.api_is_there())));
    checks.extend(limits::judge(&limits, tree));
    checks.extend(limits::judge_clock(&machine));
    Report::new(names.node, machine.kernel, checks)
}

/// Whose settings these are; and variables that are spelt wrongly, which do nothing.
fn settings(told: &Told) -> Vec<Check> {
    let unknown = |name: &str| {
        let check = Check::ok("settings", "variable", name, "no such setting");
        let cure = match closest(name) {
            Some(knob) => format!("is {knob} meant?"),
            None => "see `podvitals serve --help`".to_owned(),
        };
        check.notice("it does nothing", cure)
    };
    let daemon = told.flags.as_ref().map(|flags| {
        let found = match &flags[..] {
            [] => "no flag of it that is not given here".to_owned(),
            flags => flags.join(" "),
        };
        Check::ok("settings", "daemon", "podvitals serve, process 1 here", found)
            .means("what follows is looked at with the settings of that daemon")
    });
    let strange = strangers(told.variables.iter().map(String::as_str));
    daemon.into_iter().chain(strange.into_iter().map(unknown)).collect()
}

/// Asks whoever `serve` would ask for names.
async fn ask(config: &Config, root: &HostRoot, pods_here: usize) -> Names {
    let node = config.node_name.clone().unwrap_or_else(|| host_name(root));
    let refused = |error: &crate::kubernetes::client::KubernetesError| Refused {
        kind: error.refusal(),
        said: crate::host::error::chain(error),
    };
    let api = ApiServer::configured(config.source.names(AskedSource::Kube)).await;
    let kube = match &api {
        Ok(None) => Answer::NotConfigured,
        Err(error) => Answer::Unusable(crate::host::error::chain(error)),
        Ok(Some(api)) if !config.source.wants(AskedSource::Kube) => Answer::NotAsked(api.url().to_owned()),
        Ok(Some(api)) => {
            let pods = api.fetch_pod_count(&node).await.map_err(|error| refused(&error));
            Answer::Asked { url: api.url().to_owned(), pods }
        }
    };
    let kubelet = match &config.kubelet {
        None => Answer::NotConfigured,
        Some(address) if !config.source.wants(AskedSource::Kubelet) => Answer::NotAsked(address.url.clone()),
        Some(address) => {
            match Kubelet::new(address, api.ok().flatten().as_ref(), Arc::new(Health::default())) {
                Err(error) => Answer::Unusable(crate::host::error::chain(&error)),
                Ok(mut kubelet) => {
                    let pods = kubelet.fetch_pods().await.map(|pods| pods.len());
                    let pods = pods.map_err(|error| refused(&error));
                    Answer::Asked { url: address.url.clone(), pods }
                }
            }
        }
    };
    Names {
        node,
        node_given: config.node_name.is_some(),
        source: config.source.clone(),
        kube,
        kubelet,
        sockets: sockets(config),
        pods_here,
    }
}

/// The sockets that settings name, and the well-known ones that are there.
fn sockets(config: &Config) -> Vec<Socket> {
    let mut found: Vec<Socket> = Vec::new();
    for (source, given) in
        [(AskedSource::Cri, &config.cri_endpoint), (AskedSource::Docker, &config.docker_endpoint)]
    {
        // As it is spelt after its links were followed.
        let asked = pipeline::runtime_socket(config, source).map(|path| knock_at(&path).path);
        let given = given.as_deref().map(knock_at);
        let of =
            |knock: Knock, given| Socket { source, given, asked: asked.as_ref() == Some(&knock.path), knock };
        let others = knock(pipeline::runtime_sockets(source)).into_iter().map(|knock| of(knock, false));
        for socket in given.map(|knock| of(knock, true)).into_iter().chain(others) {
            if found.iter().all(|known| known.knock.path != socket.knock.path) {
                found.push(socket);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_is_spelt_wrongly_is_noticed_with_the_one_that_is_like_it() {
        let variables = ["PODVITALS_INTERVAL", "PODVITALS_INTERVALL", "HOME", "PODVITALS_COLOUR_OF_THE_SKY"];
        let checks = settings(&Told { variables: variables.map(str::to_owned).to_vec(), flags: None });
        let found: Vec<_> = checks.iter().map(|check| (check.looked_at.as_str(), check.verdict)).collect();
        let notice = Verdict::Notice;
        assert_eq!(found, [("PODVITALS_INTERVALL", notice), ("PODVITALS_COLOUR_OF_THE_SKY", notice)]);
        assert_eq!(checks[0].cure.as_deref(), Some("is PODVITALS_INTERVAL meant?"));
    }

    #[test]
    fn the_socket_that_is_named_is_the_one_that_is_asked() {
        let given = "/none/of/these.sock";
        let named = |name: &str| name == "PODVITALS_CRI_ENDPOINT" || name == "PODVITALS_DOCKER_ENDPOINT";
        let docker = |name: &str| name == "PODVITALS_DOCKER_ENDPOINT";
        let of = |path: &str| format!("unix://{path}");
        let config = Config::from_vars(|name| {
            named(name).then(|| of(if docker(name) { "/none/docker.sock" } else { given }))
        });
        let asked: Vec<_> = sockets(&config.unwrap()).into_iter().filter(|socket| socket.asked).collect();
        let paths: Vec<_> = asked.iter().map(|socket| socket.knock.path.to_str().unwrap()).collect();
        assert_eq!(paths, [given, "/none/docker.sock"]);
        assert!(asked.iter().all(|socket| socket.given));
    }

    #[test]
    fn docker_is_looked_for_where_the_daemon_looks_for_it() {
        let looked_for = pipeline::runtime_sockets(AskedSource::Docker);
        assert_eq!(looked_for, ["/var/run/docker.sock"]);
        let there = looked_for.iter().find(|path| std::path::Path::new(path).exists());
        let config = Config::from_vars(|_| None).unwrap();
        let taken = pipeline::runtime_socket(&config, AskedSource::Docker);
        assert_eq!(taken.as_deref(), there.map(std::path::Path::new));
    }

    #[test]
    fn flags_of_the_daemon_are_named_where_there_is_one() {
        let found = |flags: Option<Vec<String>>| {
            let checks = settings(&Told { variables: Vec::new(), flags });
            checks.first().map(|check| (check.verdict, check.found.clone()))
        };
        assert_eq!(found(None), None);
        let flags = ["--interval=500ms", "--source=cgroup"].map(str::to_owned).to_vec();
        assert_eq!(found(Some(flags)), Some((Verdict::Ok, "--interval=500ms --source=cgroup".to_owned())));
        assert!(found(Some(Vec::new())).unwrap().1.starts_with("no flag of it"));
    }
}
