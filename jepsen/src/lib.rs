//! Fault tests against real processes, and side-by-side benchmarks. Nothing depends on this crate.

pub mod client;
pub mod lab;
pub mod rest;
