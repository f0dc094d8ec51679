//! The main job, end to end, against real processes: what `docs/` promises a new user by hand, twenty times over.

#![allow(clippy::unwrap_used)]

mod administration;
mod backup;
mod bad_input;
mod balancer;
mod checkers;
mod clocks;
mod container;
mod data_disk;
mod demonstration;
mod evasion;
mod exhaustion;
mod faults;
mod freeze;
mod grpc;
mod life;
mod life_drain;
mod life_join;
mod life_keys;
mod life_remove;
mod life_restart;
mod logs;
mod malformed;
mod openapi;
mod protocol;
mod quota;
mod readiness;
mod revocation;
mod service;
mod sessions;
mod sftpgo_client;
mod slots;
mod snapshots;
mod storages;
mod terminal;
