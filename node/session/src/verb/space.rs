//! statvfs with the quota folded in: what remains is the less of the disk and the quota.

use flotilla_model::Permission;
use flotilla_vfs::Space;

use crate::files::{Failure, SpaceLeft};
use crate::ledger::RoomLeft;
use crate::path::VPath;
use crate::session::Session;

pub(super) async fn run(session: &Session, path: &[u8]) -> Result<SpaceLeft, Failure> {
    let path = VPath::parse(path)?;
    let work = session.begin().await?;
    session.authorize_led_to(&work, &path, &[Permission::List]).await?;
    let space = session.root.space(&work.guard).await.map_err(|error| session.failure(error))?;
    let room = session.account()?.room_left();
    Ok(SpaceLeft { space: fold(space, room), read_only: false })
}

fn fold(space: Space, room: RoomLeft) -> Space {
    let mut shown = space;
    if let Some(left) = room.bytes {
        shown.total_bytes = left.saturating_add(room.used_bytes).min(space.total_bytes);
        shown.free_bytes = left.min(space.free_bytes);
        shown.available_bytes = left.min(space.available_bytes);
    }
    if let Some(left) = room.files {
        shown.total_files = left.saturating_add(room.used_files).min(space.total_files);
        shown.free_files = left.min(space.free_files);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_shown_where_it_is_less_than_the_disk() {
        let disk = Space {
            total_bytes: 1000,
            free_bytes: 500,
            available_bytes: 400,
            total_files: 10,
            free_files: 5,
            ..Space::default()
        };
        let room = RoomLeft { bytes: Some(450), files: None, used_bytes: 50, used_files: 3 };
        let shown = fold(disk, room);
        assert_eq!((shown.total_bytes, shown.free_bytes, shown.available_bytes), (500, 450, 400));
        assert_eq!((shown.total_files, shown.free_files), (10, 5));
    }
}
