//! Who names the pods, judged: the API server, the kubelet, the runtime's socket, and the node's name.

use crate::config::AskedSource;
use crate::config::SourceChoice;
use crate::host::facts::Failure;
use crate::host::facts::sockets::Knock;
use crate::model::health::Refusal;

use super::Check;
use super::Core;

const PART: &str = "names";

/// What came of asking, or why nobody was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing says where it is.
    NotConfigured,
    /// What says where it is cannot be used.
    Unusable(String),
    /// `--source` leaves it out.
    NotAsked(String),
    /// It was asked for this node's pods.
    Asked {
        /// Its address.
        url: String,
        /// How many it lists.
        pods: Result<usize, Refused>,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Its kind.
    pub(super) kind: Refusal,
    /// In its own words.
    pub(super) said: String,
}

/// A runtime's socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    /// What is spoken there.
    pub(super) source: AskedSource,
    /// A setting names it.
    pub(super) given: bool,
    /// It is the one that is asked: the one that is given, else the first that is there.
    pub(super) asked: bool,
    /// What came of connecting.
    pub(super) knock: Knock,
}

/// All that names pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The node's name as we would ask for it.
    pub(super) node: String,
    /// It was given, not guessed.
    pub(super) node_given: bool,
    /// Who is to be asked.
    pub(super) source: SourceChoice,
    /// The API server.
    pub(super) kube: Answer,
    /// The kubelet.
    pub(super) kubelet: Answer,
    /// Runtimes' sockets: those that are named, and those that are there.
    pub(super) sockets: Vec<Socket>,
    /// Pods whose cgroups are here.
    pub(super) pods_here: usize,
}

impl Names {
    /// Whether an API server is configured that could be asked about tokens.
    pub(super) fn api_is_there(&self) -> bool {
        matches!(self.kube, Answer::NotAsked(_) | Answer::Asked { .. })
    }

    fn any_answers(&self) -> bool {
        let answers = |answer: &Answer| matches!(answer, Answer::Asked { pods: Ok(_), .. });
        let asked = |socket: &&Socket| socket.asked && self.source.wants(socket.source);
        let runtime = self.sockets.iter().filter(asked).any(|socket| socket.knock.answer.is_ok());
        answers(&self.kube) || answers(&self.kubelet) || runtime
    }
}

pub(super) fn judge(names: &Names) -> Vec<Check> {
    let mut checks = vec![kube(names), node_name(names), kubelet(names)];
    checks.extend(sockets(names));
    checks.push(all(names));
    checks
}

/// A source that was asked for by name has to answer; one of all need not.
fn missing(names: &Names, source: AskedSource, check: Check, cure: &str) -> Check {
    let unnamed = "it names no pod; those that no other source names are shown by UID and container id";
    if names.source.names(source) {
        check.problem(&[Core::Names], unnamed, cure)
    } else {
        check.notice(unnamed, cure)
    }
}

fn kube(names: &Names) -> Check {
    let check = |at: &str, found: String| Check::ok(PART, "API server", at, found);
    let configuration = "KUBECONFIG, KUBERNETES_SERVICE_HOST";
    match &names.kube {
        Answer::NotConfigured => {
            check(configuration, "none is configured".to_owned()).means("it is not asked")
        }
        Answer::NotAsked(url) => check(url, "configured, and left out by --source".to_owned()),
        Answer::Unusable(why) => missing(
            names,
            AskedSource::Kube,
            check(configuration, why.clone()),
            "in a pod: a service account whose token is mounted (automountServiceAccountToken); else a kubeconfig \
             in KUBECONFIG",
        ),
        Answer::Asked { url, pods: Ok(pods) } => {
            check(url, format!("lists {pods} pods of node {}", names.node))
        }
        Answer::Asked { url, pods: Err(refused) } => {
            let cure = cure(refused.kind, "get, list and watch pods (ClusterRole of the chart)");
            missing(names, AskedSource::Kube, check(url, refused.said.clone()), cure)
        }
    }
}

fn kubelet(names: &Names) -> Check {
    let check = |at: &str, found: String| Check::ok(PART, "kubelet", at, found);
    match &names.kubelet {
        Answer::NotConfigured => {
            check("PODVITALS_KUBELET_URL", "none is configured".to_owned()).means("it is not asked")
        }
        Answer::NotAsked(url) => check(url, "configured, and left out by --source".to_owned()),
        Answer::Unusable(why) => missing(
            names,
            AskedSource::Kubelet,
            check("PODVITALS_KUBELET_URL", why.clone()),
            "an address such as https://10.0.0.1:10250, and an authority in --kubelet-ca that can be read",
        ),
        Answer::Asked { url, pods: Ok(pods) } => check(url, format!("lists {pods} pods")),
        Answer::Asked { url, pods: Err(refused) } => {
            let cure = match refused.kind {
                Refusal::Unreachable => {
                    "see that the address is this node's and the port is open from here; if its certificate is not \
                     believed, name who signed it with --kubelet-ca"
                }
                kind => cure(kind, "get nodes/pods (Kubernetes 1.33 or later)"),
            };
            missing(names, AskedSource::Kubelet, check(url, refused.said.clone()), cure)
        }
    }
}

fn cure(kind: Refusal, right: &'static str) -> &'static str {
    match kind {
        Refusal::Unauthorized => "a token or certificate that it knows; in a pod, see the service account",
        Refusal::Forbidden => match right {
            right if right.starts_with("get nodes") => {
                "grant the service account get on nodes/pods (Kubernetes 1.33 or later)"
            }
            _ => "grant the service account get, list and watch on pods, as the chart's ClusterRole does",
        },
        Refusal::Unreachable | Refusal::Timeout => {
            "see that its address can be reached from here (NetworkPolicy, kubernetesServiceHost in the chart)"
        }
        _ => "see its own log; podvitals goes on asking, less and less often",
    }
}

/// Not one pod under our node's name while there are pods: it is the name of another.
fn node_name(names: &Names) -> Check {
    let from = if names.node_given { "PODVITALS_NODE_NAME" } else { "the host name" };
    let check = Check::ok(PART, "node name", from, names.node.clone());
    let cure = "set PODVITALS_NODE_NAME (--node-name) to what `kubectl get nodes` shows; the chart takes it from \
                spec.nodeName";
    match &names.kube {
        Answer::Asked { pods: Ok(0), .. } if names.pods_here > 0 => check.problem(
            &[Core::Names],
            format!("{} pods run here and the API server lists none under that name", names.pods_here),
            cure,
        ),
        Answer::Asked { .. } if !names.node_given => {
            check.notice("a host name need not be the node's name: the API server is asked by it", cure)
        }
        _ => check,
    }
}

fn sockets(names: &Names) -> Vec<Check> {
    let cure = "mount the runtime's socket and give podvitals its group (profile.runtimeSocket), or take the runtime \
                out of --source: the API server and the kubelet name pods without it";
    let mut checks: Vec<Check> = names.sockets.iter().map(|socket| of_socket(names, socket, cure)).collect();
    for (source, title) in [(AskedSource::Cri, "runtime socket"), (AskedSource::Docker, "Docker's socket")] {
        let is_asked = |socket: &Socket| socket.source == source && socket.asked;
        if names.source.names(source) && !names.sockets.iter().any(is_asked) {
            let check = Check::ok(PART, title, "well-known places", "none is to be seen");
            checks.push(missing(names, source, check, cure));
        }
    }
    if checks.is_empty() {
        let check = Check::ok(PART, "runtime socket", "well-known places", "none is to be seen");
        let bought = "names without Kubernetes, which is what profile.runtimeSocket buys, are not to be had; whoever \
                      speaks to such a socket is root on this node";
        checks.push(check.means(bought));
    }
    checks
}

fn of_socket(names: &Names, socket: &Socket, cure: &str) -> Check {
    let Socket { source, given, asked, knock } = socket;
    let title = if *source == AskedSource::Docker { "Docker's socket" } else { "runtime socket" };
    let check = |found: String| Check::ok(PART, title, knock.path.display().to_string(), found);
    let root = "whoever speaks to it can start a privileged container: it is root on this node, and mounting it \
                read-only changes nothing";
    match &knock.answer {
        Ok(()) => check("we may connect".to_owned()).notice(
            format!("{root}; it buys names without Kubernetes, and the sandbox's process without a search"),
            "leave profile.runtimeSocket off, and group 0 with it, where the API server or the kubelet can be asked",
        ),
        Err(failure) if *asked && names.source.names(*source) => missing(names, *source, check(failure.to_string()), cure),
        Err(failure @ Failure::Absent) if *given => missing(names, *source, check(failure.to_string()), cure),
        Err(Failure::Denied | Failure::NotPermitted) => {
            check("there, and not for us, as the default profile has it".to_owned())
                .means(format!("it would buy names without Kubernetes; {root}"))
        }
        Err(failure) => check(failure.to_string()).means("it is not asked until somebody listens there"),
    }
}

fn all(names: &Names) -> Check {
    let at = "--source";
    if names.source == SourceChoice::Cgroup {
        return Check::ok(PART, "names", at, "nobody is asked: pods are shown by UID, containers by id");
    }
    if names.any_answers() {
        return Check::ok(PART, "names", at, "somebody who names pods answers");
    }
    Check::ok(PART, "names", at, "nobody who names pods answers").notice(
        "figures are there; pods are shown by UID, containers by id",
        "run it in a pod with the chart's service account, set KUBECONFIG, or let it reach the runtime's socket",
    )
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
