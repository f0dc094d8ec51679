//! The front end over real sockets: OpenSSH's client and russh's, a real session core, real files, a cluster of one.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod channels;
mod client;
mod containment;
mod cuts;
mod limits;
mod login;
mod openssh;
mod penalties;
mod proxy;
mod slow;
#[path = "../../../session/tests/it/support.rs"]
mod support;
mod transfer;
mod world;
