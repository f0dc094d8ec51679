//! Open files of a session: in place, and uploads that are staged until their first CLOSE.

mod directory;
mod in_place;
mod transfer;
mod upload;
mod upload_handle;

pub(crate) use directory::OpenDirectory;
pub(crate) use in_place::{InPlace, resize};
pub(crate) use transfer::Transfer;
pub(crate) use upload::Upload;
pub(crate) use upload_handle::UploadHandle;
