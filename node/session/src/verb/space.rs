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
    if let Some(room) = room.bytes {
        shown.total_bytes = room.limit.min(space.total_bytes);
        shown.free_bytes = room.left.min(space.free_bytes);
        shown.available_bytes = room.left.min(space.available_bytes);
    }
    if let Some(room) = room.files {
        shown.total_files = room.limit.min(space.total_files);
        shown.free_files = room.left.min(space.free_files);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Room;

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
        let room = RoomLeft { bytes: Some(Room { limit: 500, left: 450 }), files: None };
        let shown = fold(disk, room);
        assert_eq!((shown.total_bytes, shown.free_bytes, shown.available_bytes), (500, 450, 400));
        // What other nodes hold is not free; the quota is what it was.
        let shown = fold(disk, RoomLeft { bytes: Some(Room { limit: 500, left: 100 }), files: None });
        assert_eq!((shown.total_bytes, shown.free_bytes, shown.available_bytes), (500, 100, 100));
        assert_eq!((shown.total_files, shown.free_files), (10, 5));
    }
}
