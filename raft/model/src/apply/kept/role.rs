//! Roles.

use super::Rules;
use crate::apply::{Scope, validate};
use crate::{Refusal, RoleSpec};

impl Rules for RoleSpec {
    fn check(&self, _scope: &Scope<'_>) -> Result<(), Refusal> {
        validate::text("description", &self.description, 0, validate::MAX_TEXT)
    }
}
