//! Admins. A password that changes, or an admin that is disabled or deleted, ends the tokens of its logins.

use super::Rules;
use crate::apply::{Scope, tokens, validate};
use crate::{AdminSpec, Name, Refusal, Role, Status};

impl Rules for AdminSpec {
    fn check(&self, scope: &Scope<'_>) -> Result<(), Refusal> {
        if let Some(hash) = &self.password_hash {
            validate::text("password", hash, 1, 512)?;
        }
        validate::list("permissions", &self.permissions, 32, 64)?;
        if self.role.is_some() && self.permissions.iter().any(|held| held == "*") {
            return Err(validate::invalid("permissions", "an admin with a role cannot hold \"*\""));
        }
        validate::list("filters.allow_list", &self.allow_list, validate::MAX_LIST, 64)?;
        validate::descriptions(&self.email, &self.description, &self.additional_info)?;
        let missing = self.role.as_ref().filter(|role| scope.get::<Role>(role).is_none());
        missing.map_or(Ok(()), |role| Err(validate::invalid("role", format_args!("role {role} does not exist"))))
    }

    fn replacing(self, before: &Self) -> Self {
        let password_hash = self.password_hash.or_else(|| before.password_hash.clone());
        AdminSpec { password_hash, ..self }
    }

    fn follow(scope: &mut Scope<'_>, name: &Name, before: &Self, after: Option<&Self>) {
        match after {
            None => tokens::remove_all(scope, name),
            Some(after) if after.status == Status::Disabled || after.password_hash != before.password_hash => {
                tokens::remove_logins(scope, name);
            }
            Some(_) => {}
        }
    }
}
