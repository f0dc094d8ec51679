//! Folders.

use super::Rules;
use crate::apply::{Scope, validate};
use crate::{FolderSpec, Refusal};

impl Rules for FolderSpec {
    fn check(&self, _scope: &Scope<'_>) -> Result<(), Refusal> {
        validate::text("mapped_path", &self.mapped_path, 1, 1_024)?;
        validate::text("description", &self.description, 0, validate::MAX_TEXT)
    }
}
