//! Real pods on this machine, without Kubernetes: a private containerd, driven over CRI the way the
//! kubelet drives one, for podvitals's tests, demonstration and benchmarks.
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
//! | bridge and addresses | `pvt<n>`, `10.86.<n>.0/24`, the first that is free |
//!
//! so that [`clean`] can undo a testbed whose owner was killed, and two testbeds, a system
//! containerd and a Docker do not see each other. Needs root and `scripts/packages node`.

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

/// The CRI messages and calls this crate uses.
mod cri;

/// Pods and their containers, as the kubelet would make them.
mod pod;

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

/// Undoing a testbed, whoever started it and however it ended.
mod cleanup;

pub use cleanup::{clean, clean_all};
pub use container::{Container, ContainerBuilder, Output};
pub use guard::stand_guard;
pub use network::LinkCounters;
pub use pod::{Pod, PodBuilder, Qos};
pub use state::STATE_ROOT;
pub use testbed::Testbed;
