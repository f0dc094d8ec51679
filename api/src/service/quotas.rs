//! Quotas: the ledger behind a user's home, and what asks for a scan. Limits are fields of the user.

use std::sync::Arc;

use flotilla_model::command::AccountCommand;
use flotilla_model::{Account, Command, RequestId, State, User, Username};
use flotilla_proto::admin::v1;
use flotilla_proto::convert;

use super::users::MAX_PAGE;
use super::{Caller, Changed, Service};
use crate::access::Verb;
use crate::error::ApiError;

impl Service {
    /// A user and the account of its home; none before the home's first use.
    pub async fn quota(
        &self,
        caller: &Caller,
        username: &str,
        stale: bool,
    ) -> Result<(Arc<State>, Arc<User>, Option<Arc<Account>>), ApiError> {
        caller.may(Verb::GetQuota)?;
        let (state, user) = self.find(caller, username, stale).await?;
        let account = state.account(user.account).cloned();
        Ok((state, user, account))
    }

    /// Asks for a scan of the user's account. It runs while the account is in use, too; with `force` it does not wait for processes of
    /// stopped nodes that may still write.
    pub async fn want_scan(
        &self,
        caller: &Caller,
        id: Option<RequestId>,
        username: &str,
        force: bool,
    ) -> Result<Changed, ApiError> {
        caller.may(Verb::ScanQuota)?;
        let (_, user) = self.find(caller, username, false).await?;
        self.change(caller, id, Command::Account(AccountCommand::WantScan { account: user.account, force })).await
    }

    /// Users whose accounts wait for a scan or are being scanned.
    pub async fn scans(&self, caller: &Caller) -> Result<(Arc<State>, Vec<Arc<User>>), ApiError> {
        caller.may(Verb::ListScans)?;
        let state = self.state(false).await?;
        let wanting = state.accounts().filter(|account| state.wants_scan(account) || account.scan.is_some());
        let users = wanting
            .flat_map(|account| state.users_of_account(account.id))
            .filter(|user| caller.sees(user))
            .take(MAX_PAGE)
            .cloned()
            .collect();
        Ok((state, users))
    }

    /// A user's view of its account.
    pub(crate) fn shown_quota(&self, state: &State, user: &User) -> v1::Quota {
        convert::quota(state, user, self.home_dir(&user.home))
    }

    pub(super) async fn find(
        &self,
        caller: &Caller,
        username: &str,
        stale: bool,
    ) -> Result<(Arc<State>, Arc<User>), ApiError> {
        let name = Username::parse(username)?;
        let state = self.state(stale).await?;
        let missing = || ApiError::not_found(format!("user {name} does not exist")).judged_by(&state);
        let user = state.user(&name).filter(|user| caller.sees(user)).cloned().ok_or_else(missing)?;
        Ok((state, user))
    }
}
