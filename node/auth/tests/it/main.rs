//! Tests of password hashes, the verifier and public keys.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod keys;
mod passwords;
