//! Brings a command to the log and repeats it under its number until its outcome is known (`PROTOCOL.md` 2.4).

use std::time::Duration;

use flotilla_cluster::{Lease, SubmitError, Submitted};
use flotilla_model::command::AccountCommand;
use flotilla_model::{Command, CommandId, Refusal};

use super::Inner;

/// Pause between two attempts that had no answer.
const PAUSE: Duration = Duration::from_millis(100);

/// What became of a numbered command.
pub(super) enum Outcome {
    Answered(Submitted),
    /// Its epoch has ended, or this node is going down: it will not be applied any more, or nobody will hear of it.
    Over,
}

impl Inner {
    /// Submits under the lease's next number until answered, or until the state says that the epoch is over.
    pub(super) async fn submit_numbered(&self, lease: &Lease, verb: &'static str, command: AccountCommand) -> Outcome {
        let id = lease.number();
        self.submit_under(lease, id, verb, command).await
    }

    pub(super) async fn submit_under(
        &self,
        lease: &Lease,
        id: CommandId,
        verb: &'static str,
        command: AccountCommand,
    ) -> Outcome {
        metrics::counter!("flotilla_quota_commands_total", "verb" => verb).increment(1);
        let actor = format!("node {}", lease.node());
        let command = Command::Account(command);
        loop {
            match self.cluster.submit(id, &actor, command.clone(), self.config.submit_deadline).await {
                Ok(Submitted { reply: Err(Refusal::StaleEpoch { .. }), .. }) => return Outcome::Over,
                Ok(submitted) => return Outcome::Answered(submitted),
                Err(SubmitError::Closed) => return Outcome::Over,
                Err(error) => tracing::debug!(verb, %error, "quota command has no answer yet"),
            }
            if !self.cluster.state().epoch_alive(lease.node(), lease.epoch()) || self.stop.is_cancelled() {
                return Outcome::Over;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Submits a command that is idempotent by itself, for two deadlines at most. `None`: no answer.
    pub(super) async fn submit_plain(&self, verb: &'static str, command: AccountCommand) -> Option<Submitted> {
        metrics::counter!("flotilla_quota_commands_total", "verb" => verb).increment(1);
        let actor = format!("node {}", self.cluster.node());
        let command = Command::Account(command);
        let begun = tokio::time::Instant::now();
        while begun.elapsed() < 2 * self.config.submit_deadline {
            match self.cluster.submit(CommandId::Unnumbered, &actor, command.clone(), self.config.submit_deadline).await
            {
                Ok(submitted) => return Some(submitted),
                Err(SubmitError::Closed) => return None,
                Err(error) => tracing::debug!(verb, %error, "quota command has no answer yet"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }
}
