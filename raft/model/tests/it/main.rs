//! Tests of the replicated model through its public face.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod random_run;
mod reference;
mod sessions;
mod snapshots;
mod world;
