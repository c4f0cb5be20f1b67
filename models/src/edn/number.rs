//! Numbers, as Clojure's reader takes them, in one spelling each.
//!
//! Equal numbers get the same spelling, so that comparing spellings compares numbers. As for
//! Clojure's `=`, whole numbers and ratios are one kind, decimals that end in `M` another, and
//! floats a third: `1` and `1N` are equal, `2/4` and `1/2`, `4/2` and `2`, `1.50` and `1.5`,
//! `1.0M` and `1.00M`; `1`, `1.0` and `1M` are not. Floats are those of 64 bits.

use super::Value;

/// What a number in a text may take: nobody needs more, and reading a longer one takes longer than
/// its length.
pub(super) const NUMBER_CHARS_MAX: usize = 1024;

/// What a token that begins like a number has to be.
pub(super) const NUMBER: &str = "a number such as -1, 2N, 0x1f, 017, 36rZ, 2/3, 1.5e3 or 1.5M";

/// The number that `token` stands for; `None` if it is none.
pub(super) fn read(token: &str) -> Option<Value> {
    if token.len() > NUMBER_CHARS_MAX {
        return None;
    }
    let (negative, digits) = match token.as_bytes().first()? {
        b'-' => (true, &token[1..]),
        b'+' => (false, &token[1..]),
        _ => (false, token),
    };
    if let Some((above, below)) = digits.split_once('/') {
        return ratio(negative, above, below);
    }
    if let Some(limbs) = whole(digits.strip_suffix('N').unwrap_or(digits)) {
        return Some(limbs.value(negative));
    }
    match digits.strip_suffix('M') {
        Some(digits) => decimal(negative, digits),
        None => float(negative, digits),
    }
}

/// Whether all of `text` is decimal digits, and there are some.
fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A whole number without its sign: `12`, `0x1f`, `017`, `36rZ`.
fn whole(digits: &str) -> Option<Limbs> {
    if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        return Limbs::read(hex, 16);
    }
    if let Some((radix, digits)) = digits.split_once(['r', 'R']) {
        let radix: u32 = radix.parse().ok().filter(|_| is_digits(radix) && radix.len() <= 2)?;
        return (2..=36).contains(&radix).then(|| Limbs::read(digits, radix))?;
    }
    match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => Limbs::read(octal, 8),
        _ => Limbs::read(digits, 10),
    }
}

/// The digits of a whole number, nine at a time, the least ones first.
struct Limbs(Vec<u32>);

impl Limbs {
    const BASE: u64 = 1_000_000_000;

    fn read(digits: &str, radix: u32) -> Option<Self> {
        let mut limbs = Vec::new();
        for digit in digits.chars() {
            let mut carry = u64::from(digit.to_digit(radix)?);
            for limb in &mut limbs {
                let sum = u64::from(*limb) * u64::from(radix) + carry;
                (*limb, carry) = ((sum % Self::BASE) as u32, sum / Self::BASE);
            }
            if carry > 0 {
                limbs.push(carry as u32);
            }
        }
        (!digits.is_empty()).then_some(Self(limbs))
    }

    fn value(&self, negative: bool) -> Value {
        let mut spelling = String::from(if negative { "-" } else { "" });
        let mut limbs = self.0.iter().rev();
        spelling.push_str(&limbs.next().unwrap_or(&0).to_string());
        limbs.for_each(|limb| spelling.push_str(&format!("{limb:09}")));
        spelling.parse().map_or_else(|_| Value::Number(format!("{spelling}N")), Value::Int)
    }
}

/// A ratio in its lowest terms; a whole number if it is one. Parts past 128 bits are none.
fn ratio(negative: bool, above: &str, below: &str) -> Option<Value> {
    if !is_digits(above) || !is_digits(below) {
        return None;
    }
    let (above, below): (u128, u128) = (above.parse().ok()?, below.parse().ok()?);
    let (mut divisor, mut rest) = (above, below);
    while rest != 0 {
        (divisor, rest) = (rest, divisor % rest);
    }
    if below == 0 {
        return None;
    }
    let (above, below) = (above / divisor, below / divisor);
    if below == 1 {
        return Some(Limbs::read(&above.to_string(), 10)?.value(negative));
    }
    Some(Value::Number(format!("{}{above}/{below}", if negative { "-" } else { "" })))
}

/// The digits before and after the point, and the exponent.
fn parts(digits: &str) -> Option<(&str, &str, i32)> {
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            (mantissa, exponent.parse().ok().filter(|_| is_digits(unsigned))?)
        }
        None => (digits, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    (is_digits(before) && (after.is_empty() || is_digits(after)))
        .then_some((before, after, exponent))
}

/// A decimal of any length: its digits without zeros at the ends, and the exponent.
fn decimal(negative: bool, digits: &str) -> Option<Value> {
    let (before, after, exponent) = parts(digits)?;
    let all = format!("{before}{after}");
    let digits = all.trim_end_matches('0');
    let exponent = i64::from(exponent) - after.len() as i64 + (all.len() - digits.len()) as i64;
    let spelling = match (digits.trim_start_matches('0'), exponent) {
        ("", _) => "0M".to_owned(),
        (digits, exponent) => {
            let sign = if negative { "-" } else { "" };
            let exponent = if exponent == 0 { String::new() } else { format!("e{exponent}") };
            format!("{sign}{digits}{exponent}M")
        }
    };
    Some(Value::Number(spelling))
}

fn float(negative: bool, digits: &str) -> Option<Value> {
    // An exponent past 32 bits is infinite or nothing; Java's reader takes it as well.
    let (mantissa, exponent) = digits.split_once(['e', 'E']).unwrap_or((digits, "0"));
    parts(mantissa)?;
    // What has neither is a whole number with a wrong digit: `08`.
    digits.contains(['.', 'e', 'E']).then_some(())?;
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let float: f64 = digits.parse().ok().filter(|_| is_digits(unsigned))?;
    let float = if negative { -float } else { float };
    Some(Value::Number(match float {
        f64::INFINITY => "##Inf".to_owned(),
        f64::NEG_INFINITY => "##-Inf".to_owned(),
        // Zero has two signs and is one number.
        0.0 => "0.0".to_owned(),
        _ => format!("{float:?}"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_have_one_spelling() {
        let same: [&[&str]; 14] = [
            &["1", "1N", "+1", "01", "0x1", "2r1", "2/2", "001N"],
            &["255", "0xff", "0XFF", "0377", "36r73", "510/2"],
            &["-5", "-0x5", "-10/2", "-5N"],
            &["0", "-0", "0N", "00", "0/7"],
            &["9223372036854775808", "9223372036854775808N", "0x8000000000000000"],
            &["-9223372036854775808", "-0x8000000000000000N"],
            &["1/2", "2/4", "+3/6"],
            &["-1/3", "-2/6"],
            &["1.5", "1.50", "15e-1", "+1.5", "0.15E1"],
            &["1000.0", "1e3", "1E+3", "1000."],
            &["0.0", "-0.0", "0e9", "0.0e-5"],
            &["0.1", "0.1000000000000000055511151231257827"],
            &["1.5M", "1.50M", "15e-1M"],
            &["0M", "0.00M", "-0e5M"],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for spellings in same {
            let first = read(spellings[0]).unwrap();
            for spelling in spellings {
                assert_eq!(read(spelling), Some(first.clone()), "{spelling}");
            }
            assert_eq!(read(&first.to_string()), Some(first.clone()), "{first} prints as read");
            assert!(seen.insert(first), "{}: equal to another", spellings[0]);
        }
        for other in ["1.0", "1M", "1e-2M", "100M", "1e999", "-1e999", "0.2", "1e400M"] {
            assert!(seen.insert(read(other).unwrap()), "{other}: equal to another");
        }
        assert_eq!(read("123456789012345678901234567890").unwrap().to_string().len(), 31);
    }

    #[test]
    fn what_is_no_number_is_none() {
        let wrong =
            "08 1a 0x 0xg 2r2 1r0 37r1 1/0 1/ /2 1/2N 1.5N 1.2.3 1e 1e+ e5 .5 1/2/3 -- 0x1M";
        for wrong in wrong.split(' ') {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&"9".repeat(NUMBER_CHARS_MAX + 1)), None);
        assert!(read(&"9".repeat(NUMBER_CHARS_MAX)).is_some());
        assert_eq!(read(&format!("1/{}", u128::MAX)).unwrap().to_string().len(), 41);
        assert_eq!(read(&format!("1/{}0", u128::MAX)), None);
    }
}
