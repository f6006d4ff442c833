//! The nouns that all rooms share. They carry units, and reasons where a figure is absent; they do nothing.
//!
//! A value travels through them in this order: sources of names tell [`identity`], resolving turns it
//! into [`target`]s, one [`sweep`] reads [`counters`] from every target ([`file_systems`] at a pace of their own), and the
//! [`snapshot`] is what readers see, spelled as a [`document`] on the wire; [`history`] is what it was in the last
//! minutes. [`processes`] are listed beside it, when somebody asks for them. [`health`] is what podvitals says of itself.

pub mod counters;
pub mod details;
pub mod document;
pub mod file_systems;
pub mod health;
pub mod history;
pub mod identity;
pub mod machine;
pub mod processes;
pub mod snapshot;
pub mod sweep;
pub mod target;
pub mod time;
pub mod unavailable;
