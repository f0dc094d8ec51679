//! Logins: our own counters, one user name per connection, and every outcome told so that the client shows the truth (`apis.md` 2.1).

use std::sync::Arc;
use std::time::Duration;

use flotilla_auth::{PublicKey, Secret};
use flotilla_session::{Admitted, AuthOutcome, Credential};
use russh::Disconnect;
use russh::keys::{Algorithm, PublicKeyBase64};
use russh::server::{Auth, PublicKeyOffer, Session, VerifiedPublicKey};
use tokio::time::Instant;

use super::{Ended, Handler, Tried};
use crate::policy;

/// How long a login waits for this node to have a lease, as in an election.
const LEASE_WAIT: Duration = Duration::from_secs(5);
/// Beyond the core's own deadline, should it not keep it.
const OVERTIME: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Login {
    user: Option<String>,
    passwords: usize,
    offers: usize,
    /// The credential was right, but there is no session: the text to say so.
    refused: Option<String>,
    admitted: Option<Admitted>,
}

impl Login {
    pub(super) fn session(&self) -> Option<&Arc<flotilla_session::Session>> {
        self.admitted.as_ref().map(Admitted::session)
    }

    /// The user name stands with the first attempt.
    fn name(&mut self, user: &str) -> Result<(), Ended> {
        if self.refused.is_some() || self.admitted.is_some() {
            return Err(Ended::TooManyAttempts);
        }
        match &self.user {
            Some(known) if known != user => Err(Ended::UserChanged),
            Some(_) => Ok(()),
            None => {
                self.user = Some(user.to_owned());
                Ok(())
            }
        }
    }
}

/// With the methods named: russh would forget the rejected one.
fn rejection() -> Auth {
    Auth::Reject { proceed_with_methods: Some(policy::methods()), partial_success: false }
}

impl Handler {
    /// A node that knows already that it cannot log anybody in says why, before any credential is asked for: the reason tells nothing
    /// about one. russh sends it before it reads on.
    pub(super) async fn say_if_unavailable(&self) {
        if let Some(reason) = self.unavailable().await {
            self.peer.note_tried(Tried::Blameless);
            self.disconnect(Disconnect::ServiceNotAvailable, reason).await;
        }
    }

    /// Clients ask this to hear of the methods.
    pub(super) fn login_none(&mut self, user: &str) -> Result<Auth, Ended> {
        self.login.name(user)?;
        Ok(rejection())
    }

    pub(super) async fn login_password(&mut self, user: &str, password: Secret) -> Result<Auth, Ended> {
        self.login.name(user)?;
        self.login.passwords += 1;
        let auth = self.decide(user, Credential::Password(password)).await?;
        if auth != Auth::Accept && self.login.passwords >= self.peer.shared.config.limits.password_attempts {
            self.disconnect(Disconnect::NoMoreAuthMethodsAvailable, "Too many authentication failures".into()).await;
        }
        Ok(auth)
    }

    pub(super) async fn login_key_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Ended> {
        self.login.name(user)?;
        self.login.offers += 1;
        if self.login.offers > self.peer.shared.config.limits.key_offers {
            return Err(Ended::TooManyAttempts);
        }
        let Some(key) = usable_key(offer.public_key, offer.algorithm) else { return Ok(rejection()) };
        match self.ask(user, Credential::PublicKeyOffer(key)).await? {
            AuthOutcome::KeyAcceptable => Ok(Auth::Accept),
            AuthOutcome::Rejected => Ok(rejection()),
            AuthOutcome::Unavailable(reason) => Err(Ended::Unavailable(reason)),
            AuthOutcome::Accepted(_) | AuthOutcome::AcceptedButRefused(_) => {
                Err(Ended::Unavailable("an offered key was taken for a signature".into()))
            }
        }
    }

    /// The signature was verified by russh; only now is the key the client's.
    pub(super) async fn login_key(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Ended> {
        self.login.name(user)?;
        match usable_key(key.public_key, key.algorithm) {
            Some(key) => self.decide(user, Credential::PublicKey(key)).await,
            None => Ok(rejection()),
        }
    }

    /// Runs before anything is flushed: a refusal reaches the client behind the success, which is where clients show it.
    pub(super) fn login_succeeded(&mut self, session: &mut Session) -> Result<(), Ended> {
        if let Some(text) = self.login.refused.as_deref() {
            self.peer.wire.say_goodbye();
            session.disconnect(Disconnect::TooManyConnections, text, "en")?;
        } else if self.login.admitted.is_none() {
            return Err(Ended::Unavailable("login without a session".into()));
        }
        Ok(())
    }

    async fn decide(&mut self, user: &str, credential: Credential) -> Result<Auth, Ended> {
        match self.ask(user, credential).await? {
            AuthOutcome::Accepted(admitted) => {
                self.peer.wire.log_in(Arc::clone(admitted.session()));
                self.login.admitted = Some(admitted);
                self.peer.login_over();
                Ok(Auth::Accept)
            }
            AuthOutcome::AcceptedButRefused(text) => {
                self.login.refused = Some(text);
                Ok(Auth::Accept)
            }
            AuthOutcome::Rejected => Ok(rejection()),
            AuthOutcome::Unavailable(reason) => Err(Ended::Unavailable(reason)),
            AuthOutcome::KeyAcceptable => Err(Ended::Unavailable("a signature was taken for an offer".into())),
        }
    }

    /// Asks the core. Nobody reads the socket meanwhile, so the client's leaving and the deadline are watched here.
    async fn ask(&self, user: &str, credential: Credential) -> Result<AuthOutcome, Ended> {
        let peer = &self.peer;
        let deadline = peer.wire.login_deadline().min(Instant::now() + peer.shared.config.limits.authentication);
        let outcome = tokio::select! {
            outcome = peer.shared.core.authenticate(&peer.connection, user, credential, deadline) => outcome,
            () = peer.wire.client_left() => return Err(Ended::ClientLeft),
            reason = peer.connection.gate().closed() => return Err(Ended::Cut(reason.to_string())),
            () = tokio::time::sleep_until(deadline + OVERTIME) => {
                return Err(Ended::Unavailable("login took too long".into()));
            }
        };
        match &outcome {
            AuthOutcome::Rejected => peer.note_tried(Tried::WrongCredential),
            AuthOutcome::AcceptedButRefused(_) | AuthOutcome::Unavailable(_) => peer.note_tried(Tried::Blameless),
            AuthOutcome::KeyAcceptable | AuthOutcome::Accepted(_) => {}
        }
        Ok(outcome)
    }

    /// Why nobody can log in here now; waits as long as an election may take.
    async fn unavailable(&self) -> Option<String> {
        if self.peer.shared.core.is_draining() {
            return Some("this node is shutting down: try again".into());
        }
        let mut leases = self.peer.shared.cluster.lease_changes();
        let live = leases.wait_for(|lease| lease.as_ref().is_some_and(|lease| !lease.is_dead()));
        tokio::select! {
            lease = tokio::time::timeout(LEASE_WAIT, live) => match lease {
                Ok(Ok(_)) => None,
                _ => Some("this node has no quorum: try again later, or another node".into()),
            },
            () = self.peer.wire.client_left() => None,
            _ = self.peer.connection.gate().closed() => None,
        }
    }

    /// Sent behind the answer that this callback makes.
    async fn disconnect(&self, reason: Disconnect, text: String) {
        self.peer.wire.say_goodbye();
        if let Some(handle) = self.peer.wait_for_handle().await {
            // The queue is empty before a login: this does not wait.
            let _ = handle.disconnect(reason, text, "en".into()).await;
        }
    }
}

/// A key that our policy takes: `ssh-rsa` with SHA-1 is refused by its algorithm.
fn usable_key(key: &russh::keys::PublicKey, algorithm: &Algorithm) -> Option<PublicKey> {
    if matches!(algorithm, Algorithm::Rsa { hash: None }) {
        return None;
    }
    PublicKey::from_blob(&key.public_key_bytes()).ok()
}
