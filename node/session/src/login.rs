//! What a front end says and hears at a login.

mod admit;
pub(crate) mod authenticate;
mod judge;
mod owner;
mod way;

use std::sync::Arc;

pub use flotilla_auth::{PublicKey, Secret};
pub(crate) use owner::{Lifecycle, repeat_numbered};
pub(crate) use way::{Way, clear as clear_way, describe as describe_holders};

use crate::session::Session;

/// What a client presents.
pub enum Credential {
    /// At most 1 KiB; longer ones are rejected at equal cost.
    Password(Secret),
    /// Would this key do? No signature yet: answered `KeyAcceptable` or `Rejected`, no session is opened.
    PublicKeyOffer(PublicKey),
    /// The front end has verified a signature by this key.
    PublicKey(PublicKey),
}

impl Credential {
    /// The login method as records and filters name it.
    pub fn method(&self) -> &'static str {
        match self {
            Credential::Password(_) => "password",
            Credential::PublicKeyOffer(_) | Credential::PublicKey(_) => "publickey",
        }
    }
}

/// The answer to a credential.
pub enum AuthOutcome {
    Accepted(Admitted),
    /// An offered key would be taken if it signs.
    KeyAcceptable,
    /// The credential was right, but no session is to be had. The text (at most 400 bytes) says why: send it as a disconnect
    /// after a success, since after a failure clients show "Permission denied" instead.
    AcceptedButRefused(String),
    Rejected,
    /// Nothing can be said now: a disconnect with this reason or a close, never a failure of the credential.
    Unavailable(String),
}

/// An admitted session. The front end keeps it as long as the connection lives: dropping it ends the session.
pub struct Admitted {
    session: Arc<Session>,
}

impl Admitted {
    pub(crate) fn new(session: Arc<Session>) -> Self {
        Admitted { session }
    }

    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.session.finish("connection closed");
    }
}

/// The longest text of a refusal, so that it passes through every client whole.
pub const MAX_REFUSAL_BYTES: usize = 400;

/// Cuts a text to `MAX_REFUSAL_BYTES` at a character's end.
pub(crate) fn bounded_text(mut text: String) -> String {
    if text.len() > MAX_REFUSAL_BYTES {
        let mut end = MAX_REFUSAL_BYTES - 3;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}
