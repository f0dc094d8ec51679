//! Quotas: usage is part of a user's record; here is what asks for a scan.

use flotilla_model::command::AccountCommand;
use flotilla_model::{Command, RequestId};

use super::{Caller, Changed, Service};
use crate::error::ApiError;

impl Service {
    /// Asks for a scan of the user's account. It runs when the account is idle.
    pub async fn want_scan(&self, caller: &Caller, id: Option<RequestId>, username: &str) -> Result<Changed, ApiError> {
        caller.may("quota_scans")?;
        let (_, user) = self.user_unchecked(username).await?;
        self.change(caller, id, Command::Account(AccountCommand::WantScan { account: user.account })).await
    }

    /// Users whose accounts wait for a scan or are being scanned.
    pub async fn scans(&self, caller: &Caller) -> Result<Vec<String>, ApiError> {
        caller.may("quota_scans")?;
        let state = self.state(false).await?;
        let wanting = state.accounts().filter(|account| account.marked || account.uncertain || account.scan.is_some());
        let names = wanting.flat_map(|account| state.users_of_account(account.id)).map(|user| user.username.to_string());
        Ok(names.take(super::users::MAX_PAGE).collect())
    }

    async fn user_unchecked(
        &self,
        username: &str,
    ) -> Result<(std::sync::Arc<flotilla_model::State>, std::sync::Arc<flotilla_model::User>), ApiError> {
        let name = flotilla_model::Username::parse(username)?;
        let state = self.state(false).await?;
        let user = state.user(&name).cloned().ok_or_else(|| ApiError::not_found(format!("user {name} does not exist")))?;
        Ok((state, user))
    }
}
