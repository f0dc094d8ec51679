//! Judges a credential against the local state, and against a fresh one before it is refused (`PROTOCOL.md` 3.4).

use std::sync::Arc;
use std::time::Duration;

use flotilla_auth::{PublicKey, Secret, Verdict};
use flotilla_model::{LogIndex, User, Username};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::core::Core;
use crate::filters::{self, Attempt};
use crate::login::Credential;

/// The longest wait for a quorum at a login.
pub(super) const ELECTION_WAIT: Duration = Duration::from_secs(5);

pub(super) enum Judged {
    /// The record against which the credential was right.
    Right(Arc<User>),
    /// For logs; clients hear the same for all.
    Wrong(&'static str),
    Unavailable(String),
}

/// Who tries to log in, how, and until when.
pub(super) struct Login<'a> {
    pub core: &'a Arc<Core>,
    pub connection: &'a Arc<Connection>,
    pub username: &'a str,
    pub credential: &'a Credential,
    pub deadline: Instant,
}

impl Login<'_> {
    pub fn attempt(&self) -> Attempt {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Attempt {
            address: self.connection.remote().ip(),
            method: self.credential.method(),
            wall_ms: since_epoch.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    /// What is left of the time for an election.
    pub fn election_wait(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).min(ELECTION_WAIT)
    }

    /// On local state first; a refusal only on a state that is as new as the attempt.
    pub async fn judge_fresh(&self) -> Judged {
        let (seen, judged) = self.judge_local().await;
        let Judged::Wrong(why) = judged else { return judged };
        #[cfg(feature = "planted-bugs")]
        if flotilla_model::planted::is("refusal-without-barrier") {
            return Judged::Wrong(why);
        }
        if let Err(error) = self.core.cluster.refusal_barrier(self.election_wait()).await {
            return Judged::Unavailable(error.to_string());
        }
        if self.record().as_deref().map(identity) == seen { Judged::Wrong(why) } else { self.judge_local().await.1 }
    }

    fn record(&self) -> Option<Arc<User>> {
        let username = Username::parse(self.username).ok()?;
        self.core.cluster.state().user(&username).cloned()
    }

    /// Judges by the local state, and says which record it saw.
    pub async fn judge_local(&self) -> (Option<(LogIndex, LogIndex)>, Judged) {
        let record = self.record();
        let seen = record.as_deref().map(identity);
        let forbidden = record.as_deref().map(|user| filters::judge(user, self.attempt()));
        let usable = record.clone().filter(|_| matches!(forbidden, Some(Ok(()))));
        let why = match forbidden {
            None => "user does not exist",
            Some(Ok(())) => "credential is wrong",
            Some(Err(_)) => "user may not log in this way",
        };
        let judged = match (self.verify(usable.as_deref()).await, usable) {
            (Verdict::Right, Some(user)) => Judged::Right(user),
            (Verdict::Busy, _) => Judged::Unavailable("too many logins at this moment, try again later".into()),
            _ => Judged::Wrong(why),
        };
        (seen, judged)
    }

    async fn verify(&self, user: Option<&User>) -> Verdict {
        match self.credential {
            Credential::Password(password) => self.verify_password(user, password).await,
            Credential::PublicKeyOffer(key) | Credential::PublicKey(key) => verify_key(user, key),
        }
    }

    async fn verify_password(&self, user: Option<&User>, password: &Secret) -> Verdict {
        let revision = user.map_or(0, |user| user.credential_revision);
        let stored = user.and_then(|user| user.password_hash.as_deref());
        self.core.verifier.verify(self.username, revision, stored, password).await
    }
}

fn identity(user: &User) -> (LogIndex, LogIndex) {
    (user.incarnation, user.credential_revision)
}

fn verify_key(user: Option<&User>, presented: &PublicKey) -> Verdict {
    let lines = user.map_or(&[][..], |user| &user.public_keys);
    let known = lines.iter().filter_map(|line| PublicKey::parse_line(line).ok());
    // No short cut: every key of the user is compared.
    let found = known.fold(false, |found, key| (key == *presented) | found);
    if found { Verdict::Right } else { Verdict::Wrong }
}
