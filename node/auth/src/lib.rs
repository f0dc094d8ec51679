//! Credentials: password hashes and SSH public keys. Knows no socket and no session.

pub mod key;
mod memory;
pub mod password;
pub mod secret;
pub mod verifier;

pub use key::{InvalidKey, KeyKind, PublicKey};
pub use password::{HashError, hash_password, verify_password};
pub use secret::Secret;
pub use verifier::{Verdict, Verifier, VerifierConfig};
