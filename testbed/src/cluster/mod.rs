//! Real Kubernetes on one node: etcd, API server, controller manager, scheduler and kubelet, as
//! processes of this machine, on a [`Testbed`]'s containerd and bridge.
//!
//! What is not there: kube-proxy (a service's own address leads nowhere) and CoreDNS. A pod reaches the
//! API server at [`Cluster::api_address_for_pods`]. Pods have no route beyond the bridge.

/// Where the parts are.
mod layout;

/// Who signs, who serves, who is whom.
mod certificates;

/// The programs.
mod tools;

/// The four programs that are not the kubelet.
mod control_plane;

/// etcd's own gateway.
mod etcd;

/// The kubelet, and its traces outside the cluster's folder.
pub(crate) mod kubelet;

/// The API server, which tests stop, kill and pause.
mod api_server;

/// A pod as the node has it.
mod on_node;

/// A port of a pod on this machine.
mod port_forward;

/// Programs that tests run beside the cluster.
mod beside;

/// What the runtime has.
mod runtime;

/// Waiting with a deadline.
mod wait;

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::cgroup;
use crate::containerd;
use crate::state::StateDir;
use crate::testbed::Testbed;

use api_server::ApiServer;
use certificates::Certificates;
use layout::Layout;
use tools::Tools;

pub use beside::Beside;
pub use on_node::{ContainerOnNode, PodOnNode};
pub use port_forward::PortForward;
pub use runtime::{Runtime, RuntimeContainer, RuntimeList, RuntimeSandbox};
pub use wait::wait_for;

/// For one program to be ready; a few seconds on an idle machine.
const START_PATIENCE: Duration = Duration::from_secs(90);

/// A cluster. Dropped, also by a panic, it takes everything down that it made; [`Self::stop`] does the
/// same and says what went wrong.
pub struct Cluster {
    api_server: ApiServer,
    // Kept to be buried; they are ended through the testbed's record.
    children: Vec<Child>,
    layout: Layout,
    tools: Tools,
    certificates: Certificates,
    testbed: Testbed,
}

impl Cluster {
    /// Starts the cluster of that name, after undoing what an earlier one left. When this returns the
    /// node is ready and pods can be made.
    ///
    /// Names are shared with testbeds: a cluster is one, with Kubernetes on it.
    pub async fn start(name: &str) -> Result<Self> {
        Self::start_telling(name, |_| {}).await
    }

    /// As [`Self::start`], with a line for a person before each step that takes a while.
    pub async fn start_telling(name: &str, tell: impl Fn(&str)) -> Result<Self> {
        let tools = Tools::find()?;
        let testbed = Testbed::start_telling(name, &tell).await?;
        let layout = Layout::new(testbed.shared().state.clone(), testbed.shared().network);
        let certificates = Certificates::make(&layout.folder("pki"), &layout.node_name(), layout.address())?;
        for folder in ["home", "log", "logs", "manifests", "kubelet", "volume-plugins"] {
            fs::create_dir_all(layout.folder(folder)).context(folder)?;
        }
        for user in ["admin", "node", "controller-manager", "scheduler"] {
            layout.write_kubeconfig(user, &certificates)?;
        }
        let policy = control_plane::audit_policy().to_string();
        layout::write(&layout.folder("audit-policy.json"), &policy)?;
        let api_server = ApiServer::default();
        let mut cluster = Self { api_server, children: Vec::new(), layout, tools, certificates, testbed };
        cluster.raise(&tell).await?;
        Ok(cluster)
    }

    async fn raise(&mut self, tell: &impl Fn(&str)) -> Result<()> {
        tell("starting etcd");
        let etcd = self.launch(self.outside_command("etcd"), "etcd", control_plane::etcd(&self.layout))?;
        self.children.push(etcd);
        let answers = async || etcd::fetch_revision(self.layout.etcd()).await.map(Some);
        self.tell_log("etcd", wait_for("etcd", START_PATIENCE, answers).await)?;
        tell("starting the API server");
        self.start_api_server().await?;
        tell("starting controller manager, scheduler and kubelet");
        let programs = [
            ("kube-controller-manager", control_plane::controller_manager(&self.layout, &self.certificates)),
            ("kube-scheduler", control_plane::scheduler(&self.layout)),
        ];
        for (program, arguments) in programs {
            let child = self.launch(self.command(program), program, arguments)?;
            self.children.push(child);
        }
        self.start_kubelet().await?;
        self.until_pods_are_allowed("default").await
    }

    /// One kubelet at a time starts on this machine: it changes settings of the kernel, which are put
    /// back before the next one comes.
    async fn start_kubelet(&mut self) -> Result<()> {
        cgroup::create(&format!("/{}", self.layout.state.cgroup_prefix()))?;
        let config = kubelet::config(&self.layout, &self.certificates);
        layout::write(&self.layout.folder("kubelet.json"), &config.to_string())?;
        let turn = tokio::task::spawn_blocking(StateDir::lock_root).await??;
        let tunables = kubelet::read_tunables()?;
        let folders = kubelet::own_folders()?;
        self.testbed.record(|record| {
            record.tunables.clone_from(&tunables);
            record.folders = folders;
        })?;
        let child = self.launch(self.command("kubelet"), "kubelet", kubelet::arguments(&self.layout))?;
        self.children.push(child);
        let ready = wait_for("the node to be ready", START_PATIENCE, async || self.is_node_ready().await);
        let ready = ready.await;
        kubelet::restore_tunables(&tunables)?;
        self.testbed.record(|record| record.tunables.clear())?;
        drop(turn);
        self.tell_log("kubelet", ready)
    }

    /// Ready, and without the taint that keeps pods off until the controller manager has seen it.
    async fn is_node_ready(&self) -> Result<Option<()>> {
        let node = self.get_json(&["node", &self.node_name()]).await?;
        let conditions = node["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let ready = conditions.iter().find(|condition| condition["type"] == "Ready");
        if ready.is_none_or(|ready| ready["status"] != "True") {
            bail!("{}", ready.map_or("no condition 'Ready'".to_owned(), Value::to_string));
        }
        if let Some(taints) = node["spec"]["taints"].as_array() {
            bail!("taints {taints:?}");
        }
        Ok(Some(()))
    }

    /// A program of ours in the background, its output in `log/NAME.log`.
    fn launch(&self, mut command: Command, name: &str, arguments: Vec<String>) -> Result<Child> {
        let path = self.layout.log(name);
        let log = File::options().create(true).append(true).open(&path);
        let log = log.with_context(|| path.display().to_string())?;
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.testbed.spawn_disposable(&mut command)
    }

    fn command(&self, program: &str) -> Command {
        self.tools.command(program, &self.layout.folder("home"))
    }

    /// One that a package brings.
    fn outside_command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", tools::PATH).env("HOME", self.layout.folder("home"));
        // etcd 3.4 asks for a word of consent on anything but amd64.
        command.env("ETCD_UNSUPPORTED_ARCH", std::env::consts::ARCH.replace("aarch64", "arm64"));
        command
    }

    /// With the end of its log, an error of a program says why.
    fn tell_log<T>(&self, program: &str, result: Result<T>) -> Result<T> {
        result
            .map_err(|error| error.context(format!("{program}'s log ends with:\n{}", self.log_tail(program))))
    }

    /// The last lines of a program's log: `etcd`, `kube-apiserver`, `kube-controller-manager`,
    /// `kube-scheduler`, `kubelet`, or one that runs beside.
    pub fn log_tail(&self, program: &str) -> String {
        let log = fs::read_to_string(self.layout.log(program)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// What the API server noted down about that service account's requests, in its order: events as in
    /// <https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/>, at the start of the answer
    /// (`ResponseStarted`, of a watch) and at its end (`ResponseComplete`).
    pub fn audit(&self, namespace: &str, account: &str) -> Result<Vec<Value>> {
        let path = self.layout.audit_log();
        let log = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let user = format!("system:serviceaccount:{namespace}:{account}");
        // What follows the last line break is still being written.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let events = whole.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned()));
        let events = events.collect::<Result<Vec<Value>>>()?;
        Ok(events.into_iter().filter(|event| event["user"]["username"] == *user).collect())
    }

    /// Runs kubectl as an administrator and returns what it printed; its complaint is the error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_stdin(arguments, None).await
    }

    /// The same with something on standard input, for `-f -`.
    pub async fn kubectl_with_stdin(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String> {
        let mut command = self.kubectl_command();
        command.args(arguments);
        tools::run(command, stdin).await
    }

    /// kubectl, ready to be given arguments, for [`Self::spawn`] or another way of running it.
    pub fn kubectl_command(&self) -> Command {
        let mut command = self.command("kubectl");
        command.env("KUBECONFIG", self.kubeconfig());
        command
    }

    /// `kubectl apply -f -`, of YAML or JSON.
    pub async fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl_with_stdin(&["apply", "-f", "-"], Some(manifest)).await
    }

    /// A namespace in which pods can be made.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        self.kubectl(&["create", "namespace", name]).await?;
        self.until_pods_are_allowed(name).await
    }

    /// The same with a label that it has from the beginning: of one that is put on later, those who decide
    /// upon pods hear in their own time.
    pub async fn create_namespace_with(&self, name: &str, label: (&str, &str)) -> Result<()> {
        let (key, value) = label;
        let metadata = json!({ "name": name, "labels": { key: value } });
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata });
        self.apply(&namespace.to_string()).await?;
        self.until_pods_are_allowed(name).await
    }

    /// The API server forbids pods in a namespace without its ServiceAccount `default`, which the controller
    /// manager makes in its own time: half a minute later where it has just seen the API server go away. No
    /// container starts without the certificate authority, which it makes likewise.
    async fn until_pods_are_allowed(&self, namespace: &str) -> Result<()> {
        let what = format!("ServiceAccount and certificate authority of namespace {namespace}");
        let account = wait_for(&what, START_PATIENCE, async || {
            let made = ["serviceaccount/default", "configmap/kube-root-ca.crt"];
            self.kubectl(&["get", made[0], made[1], "-n", namespace]).await.map(Some)
        });
        self.tell_log("kube-controller-manager", account.await).map(drop)
    }

    /// `kubectl get … -o json`.
    pub async fn get_json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        let text = self.kubectl(&arguments).await?;
        serde_json::from_str(&text).with_context(|| format!("kubectl {}", arguments.join(" ")))
    }

    /// Runs helm as an administrator and returns what it printed.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("helm");
        command.env("KUBECONFIG", self.kubeconfig()).args(arguments);
        tools::run(command, None).await
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig("admin")
    }

    /// The folder with kubectl and helm in it.
    pub fn tools(&self) -> &Path {
        self.tools.folder()
    }

    /// The authority that signed the API server's and the kubelet's certificates, PEM.
    pub fn ca(&self) -> PathBuf {
        self.certificates.certificate("ca").into()
    }

    /// Host and port of the API server as pods, and everybody else on this machine, reach it: for
    /// `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`.
    pub fn api_address_for_pods(&self) -> (String, u16) {
        (self.node_address().to_string(), layout::API_PORT)
    }

    /// The name of the one node.
    pub fn node_name(&self) -> String {
        self.layout.node_name()
    }

    /// The node's address, which is the bridge's: the kubelet answers there on port 10250.
    pub fn node_address(&self) -> Ipv4Addr {
        self.layout.address()
    }

    /// Where the kubelet looks for static pods.
    pub fn static_pod_dir(&self) -> PathBuf {
        self.layout.folder("manifests")
    }

    /// Loads an archive as `docker save` writes it; returns the names of the images. Pods use them with
    /// `imagePullPolicy: Never`.
    pub async fn import_image(&self, archive: &Path) -> Result<Vec<String>> {
        let shared = self.testbed.shared();
        containerd::import(&shared.state, &shared.cri, archive).await
    }

    /// A pod as the node has it; `None` when no sandbox of it lives.
    pub async fn find_on_node(&self, namespace: &str, name: &str) -> Result<Option<PodOnNode>> {
        PodOnNode::find(&self.testbed.shared().cri, &self.testbed.bridge(), namespace, name).await
    }

    /// A token of a service account that is good for so long; Kubernetes refuses less than ten minutes.
    pub async fn token_for(&self, namespace: &str, account: &str, duration: Duration) -> Result<String> {
        let duration = format!("{}s", duration.as_secs());
        let arguments = ["create", "token", account, "-n", namespace, "--duration", &duration];
        Ok(self.kubectl(&arguments).await?.trim_end().to_owned())
    }

    /// Starts `kubectl port-forward` to a port of `pod/NAME` or the like; ready when this returns.
    pub async fn port_forward(&self, namespace: &str, target: &str, port: u16) -> Result<PortForward> {
        let mut command = self.kubectl_command();
        command.args(["port-forward", "-n", namespace, target, &format!(":{port}")]);
        PortForward::start(self, command).await
    }

    /// Drops every revision etcd keeps but the newest, which it returns. A `continue` token of an earlier
    /// list then answers 410; a watch is served from the API server's memory, and answers 410 once that
    /// has been started anew as well.
    pub async fn compact_etcd(&self) -> Result<u64> {
        etcd::compact(self.layout.etcd()).await
    }

    /// The containerd, bridge and folder this cluster stands on.
    pub fn testbed(&self) -> &Testbed {
        &self.testbed
    }

    /// Starts a program that ends with the cluster, also when we are killed.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.testbed.spawn(command)
    }

    /// Takes everything down.
    pub async fn stop(self) -> Result<()> {
        let Self { api_server, mut children, testbed, .. } = self;
        let result = testbed.stop().await;
        // They have been ended; this only buries them.
        children.extend(api_server.into_child());
        for child in &mut children {
            let _ = child.try_wait();
        }
        result
    }
}
