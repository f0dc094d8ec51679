//! The line that `ls -l` would print for an entry: numeric owners, UTC, no locale.

use std::io::Write as _;

use flotilla_session::FileStat;

use super::attributes::wire_mode;
use super::numbers::mode;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
/// `ls` shows the year instead of the time for files older than half a Gregorian year.
const HALF_YEAR_S: i64 = 31_556_952 / 2;
const DAY_S: i64 = 86_400;

/// Appends the line for `name` to `out`. `now_s`: seconds since the epoch.
pub fn long_name(out: &mut Vec<u8>, name: &[u8], stat: &FileStat, now_s: i64) {
    let mode = wire_mode(stat);
    out.push(type_letter(mode));
    out.extend_from_slice(&permission_letters(mode));
    let (links, uid, gid, size) = (stat.links, stat.uid, stat.gid, stat.size);
    put(out, format_args!(" {links:>3} {uid:<8} {gid:<8} {size:>8} "));
    put_date(out, stat.mtime.0, now_s);
    out.push(b' ');
    out.extend_from_slice(name);
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a Vec cannot fail");
}

fn type_letter(bits: u32) -> u8 {
    match bits & mode::TYPE {
        mode::DIRECTORY => b'd',
        mode::SYMLINK => b'l',
        mode::FIFO => b'p',
        mode::CHARACTER => b'c',
        mode::BLOCK => b'b',
        mode::SOCKET => b's',
        mode::FILE => b'-',
        _ => b'?',
    }
}

fn permission_letters(bits: u32) -> [u8; 9] {
    let mut letters = *b"---------";
    for (place, letter) in letters.iter_mut().enumerate() {
        if bits & (0o400 >> place) != 0 {
            *letter = b"rwx"[place % 3];
        }
    }
    for (bit, place, set) in [(0o4000, 2, b's'), (0o2000, 5, b's'), (0o1000, 8, b't')] {
        if bits & bit != 0 {
            let executable = letters[place] == b'x';
            letters[place] = if executable { set } else { set.to_ascii_uppercase() };
        }
    }
    letters
}

fn put_date(out: &mut Vec<u8>, at_s: i64, now_s: i64) {
    let (year, month, day) = civil(at_s.div_euclid(DAY_S));
    let month = MONTHS[month as usize - 1];
    if at_s > now_s - HALF_YEAR_S && at_s <= now_s {
        let minute = at_s.rem_euclid(DAY_S) / 60;
        put(out, format_args!("{month} {day:>2} {:02}:{:02}", minute / 60, minute % 60));
    } else {
        put(out, format_args!("{month} {day:>2}  {year:>4}"));
    }
}

/// Year, month (1 to 12) and day of a number of days since 1970-01-01, in the proleptic Gregorian calendar.
/// Years are counted from 1 March, so that the leap day is a year's last.
fn civil(days: i64) -> (i64, u32, u32) {
    // 719,468 days lie between 0000-03-01 and 1970-01-01; a cycle of 400 years has 146,097.
    let days = days.saturating_add(719_468);
    let cycle = days.div_euclid(146_097);
    let day_of_cycle = days.rem_euclid(146_097);
    let year_of_cycle = (day_of_cycle - day_of_cycle / 1_460 + day_of_cycle / 36_524 - day_of_cycle / 146_096) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = cycle * 400 + year_of_cycle + i64::from(month <= 2);
    (year, month as u32, day as u32)
}

#[cfg(test)]
mod tests {
    use flotilla_session::FileKind;

    use super::*;

    const NOV_25_2026: i64 = 1_795_566_600; // 2026-11-25 00:30:00 UTC

    fn stat(kind: FileKind, mode: u32, mtime: i64) -> FileStat {
        let (atime, mtime) = ((0, 0), (mtime, 0));
        FileStat { kind, size: 1234, mode, uid: 1000, gid: 100, atime, mtime, links: 2, inode: Default::default() }
    }

    fn line(stat: &FileStat) -> String {
        let mut out = Vec::new();
        long_name(&mut out, b"name", stat, NOV_25_2026);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_recent_file_shows_its_time_and_an_old_one_its_year() {
        let recent = stat(FileKind::File, 0o100_644, NOV_25_2026 - 60);
        assert_eq!(line(&recent), "-rw-r--r--   2 1000     100          1234 Nov 25 00:29 name");
        let old = stat(FileKind::File, 0o100_644, 951_782_400);
        assert_eq!(line(&old), "-rw-r--r--   2 1000     100          1234 Feb 29  2000 name");
    }

    #[test]
    fn each_type_has_its_letter_and_special_bits_show() {
        let shown = |mode| line(&stat(FileKind::Other, mode, 0))[..10].to_owned();
        assert_eq!(shown(0o041_777), "drwxrwxrwt");
        assert_eq!(shown(0o120_777), "lrwxrwxrwx");
        assert_eq!(shown(0o010_600), "prw-------");
        assert_eq!(shown(0o020_600), "crw-------");
        assert_eq!(shown(0o060_600), "brw-------");
        assert_eq!(shown(0o140_755), "srwxr-xr-x");
        assert_eq!(shown(0o104_755), "-rwsr-xr-x");
        assert_eq!(shown(0o106_644), "-rwSr-Sr--");
        assert_eq!(line(&stat(FileKind::Directory, 0o755, 0))[..10], *"drwxr-xr-x");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (days, date) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (11_016, (2000, 2, 29)),
            (11_017, (2000, 3, 1)),
            (20_782, (2026, 11, 25)),
            (47_540, (2100, 2, 28)),
            (47_541, (2100, 3, 1)),
        ] {
            assert_eq!(civil(days), date, "{days}");
        }
        civil(i64::MAX);
        civil(i64::MIN);
    }
}
