//! Tests of the session core through its public face.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod between;
mod cuts;
mod evasion;
mod fleet;
mod ghosts;
mod house;
mod ledger;
mod logins;
mod quota;
mod rights;
mod scans;
mod scans_nodes;
mod shortage;
mod support;
mod uploads;
