//! The main job, end to end, against real processes: what `docs/` promises a new user by hand, twenty times over.

#![allow(clippy::unwrap_used)]

mod backup;
mod bad_input;
mod balancer;
mod checkers;
mod demonstration;
mod evasion;
mod faults;
mod freeze;
mod quota;
mod revocation;
mod service;
mod sessions;
