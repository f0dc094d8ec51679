//! Sizes on the command line: bytes, or a number with a unit of 1024 or 1000.

/// `10MiB`, `10M` (the same), `10MB` (10,000,000), `10485760`; `0` is no limit.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no size, for example 10MiB"))?;
    let factor = factor(unit.trim()).ok_or_else(|| format!("{unit:?} is no unit: KiB MiB GiB TiB or KB MB GB TB"))?;
    number.checked_mul(factor).ok_or_else(|| format!("{text} is more than 2^64 bytes"))
}

fn factor(unit: &str) -> Option<u64> {
    let unit = unit.to_ascii_uppercase();
    let power = |letter: &str| "KMGT".find(letter).map(|position| position as u32 + 1);
    match unit.as_str() {
        "" | "B" => Some(1),
        _ => match (unit.get(..1)?, unit.get(1..)?) {
            (letter, "" | "IB") => power(letter).map(|power| 1024u64.pow(power)),
            (letter, "B") => power(letter).map(|power| 1000u64.pow(power)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(parse("10MiB"), Ok(10 << 20));
        assert_eq!(parse("10M"), Ok(10 << 20));
        assert_eq!(parse("10MB"), Ok(10_000_000));
        assert_eq!(parse("7"), Ok(7));
        for bad in ["", "MiB", "-1", "1.5G", "10XB", "99999999999T"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
