//! Fault tests against real processes, and side-by-side benchmarks. Nothing depends on this crate.

pub mod admin;
pub mod balancer;
pub mod check;
pub mod client;
pub mod cluster;
pub mod content;
pub mod disk;
pub mod figures;
pub mod fleet;
pub mod history;
pub mod lab;
pub mod nemesis;
pub mod net;
pub mod probe;
pub mod report;
pub mod rest;
pub mod run;
pub mod selftest;
pub mod soak;
pub mod stall;
pub mod workload;
