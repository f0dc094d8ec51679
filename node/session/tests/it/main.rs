//! Tests of the session core through its public face.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fleet;
mod house;
mod ledger;
mod shortage;
mod uploads;
