//! Real pods on this machine, for podvitals's tests, demonstration and benchmarks: a private containerd,
//! driven over CRI the way the kubelet drives one, or with a whole Kubernetes on it.
//!
//! ```no_run
//! # async fn example() -> anyhow::Result<()> {
//! use podvitals_testbed::Testbed;
//! let testbed = Testbed::start("example").await?;
//! let pod = testbed.pod("web").burstable().run().await?;
//! let app = pod.container("app").args(["spin", "--duty", "37"]).run().await?;
//! assert_eq!(app.exec(["/bin/echo", "hello"]).await?.stdout, "hello\n");
//! testbed.stop().await
//! # }
//! ```
//!
//! Everything lies under one folder, `/var/lib/podvitals-testbed/NAME`, and carries the name:
//!
//! | thing | where |
//! |---|---|
//! | containerd, its socket, images, netns mounts | the folder |
//! | cgroups | `/podvitals-NAME/kubepods/{burstable,besteffort,}/pod<uid>` of every hierarchy |
//! | dockerd, where a test asks for one: its data, its socket | the folder |
//! | bridge and addresses | `pvt<n>`, `10.86.<n>.0/24`, the first that is free |
//!
//! A [`Cluster`] is a testbed with Kubernetes on it: pods are then made through an API server, by a
//! kubelet. What it adds:
//!
//! | thing | where |
//! |---|---|
//! | etcd, keys, kubeconfigs, the kubelet's root, logs | the folder |
//! | API server, kubelet | ports 6443 and 10250 of the bridge's address |
//! | etcd | `127.86.<n>.1:2379` |
//! | links to logs, the device plugins' socket | `/var/log/containers`, `/var/lib/kubelet`: no flag changes that |
//!
//! So [`clean`] can undo a testbed whose owner was killed, and two testbeds, a system containerd and a
//! Docker do not see each other. Needs root and `scripts/packages node`; a cluster needs
//! `scripts/packages cluster` and `scripts/kubernetes`.

/// A testbed from start to stop.
mod testbed;

/// The folder, what is recorded in it, and who owns it.
mod state;

/// The bridge of the pods, its subnet, and the host's end of their links.
mod network;

/// The program the pods run, built statically.
mod load;

/// Images made on the spot: there is no registry.
mod image;

/// The private containerd: its configuration and its process.
mod containerd;

/// A private dockerd on that containerd.
mod docker;

/// The CRI messages and calls this crate uses.
mod cri;

/// Pods and their containers, as the kubelet would make them.
mod pod;

/// Pods without a runtime: cgroups, a netns and processes, and nothing else.
pub mod made_up;

/// Kernels of another kind than this machine's, emulated.
pub mod guest;

/// What containerd tells beyond CRI.
mod info;

/// One container of a pod.
mod container;

/// The cgroups above the containers' own.
mod cgroup;

/// Finding and ending processes that are ours.
mod process;

/// A second process that takes the testbed down when its owner was killed.
mod guard;

/// Real Kubernetes on that containerd: a control plane and a kubelet.
mod cluster;

/// Tests that share one stage.
pub mod suite;

/// Undoing a testbed, whoever started it and however it ended.
mod cleanup;

pub use cleanup::{clean, clean_all};
pub use cluster::{Beside, Cluster, ContainerOnNode, PodOnNode, PortForward, wait_for};
pub use cluster::{Runtime, RuntimeContainer, RuntimeList, RuntimeSandbox};
pub use container::{Container, ContainerBuilder, Output};
pub use docker::{Docker, DockerContainer, DockerPod};
pub use guard::stand_guard;
pub use image::{BUSYBOX, LOAD, PAUSE};
pub use network::LinkCounters;
pub use pod::{Pod, PodBuilder, Qos};
pub use state::STATE_ROOT;
pub use suite::Test;
pub use testbed::Testbed;
