//! cgroups, version 1, version 2 and mixtures of both: where they are, what they are called, and
//! what each has used.
//!
//! [`layout`] finds the hierarchies once; [`tree`] lists pods and containers by [`names`];
//! a [`reader`] per cgroup keeps its [`files`] open and reads them each sweep, parsed by [`v1`],
//! [`v2`] and [`pressure`]; [`limits`] are read now and then; [`blkio`] knows whether version 1
//! counts block I/O on this node at all.
//!
//! The kernel's pages: `Documentation/admin-guide/cgroup-v2.rst` and `…/cgroup-v1/`.

pub mod blkio;
pub mod file;
pub mod files;
pub mod layout;
pub mod limits;
pub mod names;
pub mod pressure;
pub mod reader;
pub mod tree;
pub mod v1;
pub mod v2;
