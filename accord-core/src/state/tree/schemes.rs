//! What the schemes of identities mean: which names are well-formed, and which name stands for
//! which.

use super::acl::Identity;
use core::str;

/// True if an entry of a list may name this identity.
pub(super) fn is_valid(identity: &Identity) -> bool {
    let Ok(id) = str::from_utf8(&identity.id) else { return false };
    match &identity.scheme[..] {
        b"digest" => is_user_and_digest(id),
        b"ip" => Network::parse(id).is_some(),
        b"sasl" => is_principal(id),
        b"x509" => is_distinguished_name(id),
        _ => false,
    }
}

/// True if somebody proved to be this identity, rather than just having an address.
pub(super) fn is_proven(identity: &Identity) -> bool {
    matches!(&identity.scheme[..], b"digest" | b"sasl" | b"x509")
}

/// True if `who` is what an entry of a list names.
pub(super) fn matches(who: &Identity, named: &Identity) -> bool {
    if who.scheme != named.scheme {
        return false;
    }
    match &named.scheme[..] {
        b"digest" | b"x509" => who.id == named.id,
        b"sasl" => who.id == named.id || who.id == "super",
        b"ip" => {
            let network = str::from_utf8(&named.id).ok().and_then(Network::parse);
            let address = str::from_utf8(&who.id).ok().and_then(Address::parse);
            network.zip(address).is_some_and(|(network, address)| network.contains(address))
        }
        _ => false,
    }
}

/// As Java splits: empty parts at the end do not count.
fn is_user_and_digest(id: &str) -> bool {
    id.trim_end_matches(':').split(':').count() == 2
}

/// A name without a realm, or a Kerberos principal of one or two components.
fn is_principal(id: &str) -> bool {
    let Some((name, realm)) = id.split_once('@') else { return true };
    name.matches('/').count() <= 1 && !realm.contains(['/', '@'])
}

/// An address, in the lowest bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    V4(u32),
    V6(u128),
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        if text.contains(':') { parse_v6(text).map(Self::V6) } else { parse_v4(text).map(Self::V4) }
    }

    const fn bits(self) -> u32 {
        match self {
            Self::V4(_) => 32,
            Self::V6(_) => 128,
        }
    }
}

fn parse_v4(text: &str) -> Option<u32> {
    let mut address = 0;
    let mut parts = 0;
    for part in text.split('.') {
        let byte = part.parse::<i32>().ok().and_then(|number| u8::try_from(number).ok())?;
        address = address << 8 | u32::from(byte);
        parts += 1;
        if parts > 4 {
            return None;
        }
    }
    (parts == 4).then_some(address)
}

fn parse_v6(text: &str) -> Option<u128> {
    const SEGMENTS: u32 = 8;
    let Some((before, behind)) = text.split_once("::") else {
        let (address, count) = segments(text)?;
        return (count == SEGMENTS).then_some(address);
    };
    if behind.contains("::") {
        return None;
    }
    let of = |part: &str| if part.is_empty() { Some((0, 0)) } else { segments(part) };
    let ((high, before), (low, behind)) = (of(before)?, of(behind)?);
    if before + behind >= SEGMENTS {
        return None;
    }
    Some(high << (16 * (SEGMENTS - before)).min(127) | low)
}

/// The number that segments with a colon between them make, and how many they are.
fn segments(text: &str) -> Option<(u128, u32)> {
    let mut number = 0;
    let mut count = 0;
    for segment in text.split(':') {
        if segment.is_empty() || segment.len() > 4 || count >= 8 {
            return None;
        }
        number = number << 16 | u128::from(u16::from_str_radix(segment, 16).ok()?);
        count += 1;
    }
    Some((number, count))
}

/// An address, and how many of its first bits count.
#[derive(Clone, Copy, Debug)]
struct Network {
    address: Address,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits)),
        };
        let address = Address::parse(address)?;
        let bits = match bits {
            None => address.bits(),
            Some(bits) => u32::try_from(bits.parse::<i32>().ok()?).ok()?,
        };
        (bits <= address.bits()).then_some(Self { address, bits })
    }

    fn contains(self, address: Address) -> bool {
        let dropped = self.address.bits() - self.bits;
        match (self.address, address) {
            (Address::V4(own), Address::V4(other)) => {
                own.checked_shr(dropped) == other.checked_shr(dropped)
            }
            (Address::V6(own), Address::V6(other)) => {
                own.checked_shr(dropped) == other.checked_shr(dropped)
            }
            _ => false,
        }
    }
}

/// The attributes that a distinguished name may be made of, besides object identifiers.
const ATTRIBUTES: [&str; 21] = [
    "CN",
    "C",
    "L",
    "S",
    "ST",
    "O",
    "OU",
    "T",
    "IP",
    "STREET",
    "DC",
    "DNQUALIFIER",
    "DNQ",
    "SURNAME",
    "GIVENNAME",
    "INITIALS",
    "GENERATION",
    "EMAIL",
    "EMAILADDRESS",
    "UID",
    "SERIALNUMBER",
];

/// True for the text of a distinguished name: attributes with values, in the form of RFC 2253.
fn is_distinguished_name(id: &str) -> bool {
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, character) in id.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' | ';' | '+' if !quoted => {
                if !is_attribute(&id[start..at]) {
                    return false;
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    !quoted && !escaped && (id.trim().is_empty() || is_attribute(&id[start..]))
}

fn is_attribute(part: &str) -> bool {
    let Some((name, _)) = part.split_once('=') else { return false };
    let name = name.trim();
    let number = name.strip_prefix("OID.").or_else(|| name.strip_prefix("oid.")).unwrap_or(name);
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_identifier = number.contains('.') && number.split('.').all(digits);
    is_identifier || ATTRIBUTES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn valid(scheme: &str, ids: &[&str], expected: bool) {
        for id in ids {
            assert_eq!(is_valid(&Identity::new(scheme, id)), expected, "{scheme} {id:?}");
        }
    }

    #[test]
    fn names_are_well_formed_by_scheme() {
        valid("digest", &["a:b", ":b", "a:b:", "a:b::"], true);
        valid("digest", &["", "a", "a:", ":", "a:b:c"], false);
        valid("sasl", &["a", "", "a/b/c", "a@r", "a/h@r", "@"], true);
        valid("sasl", &["a/b/c@r", "a@r/x", "a@b@c"], false);
        valid(
            "ip",
            &["1.2.3.4", "1.2.3.4/0", "1.2.3.4/32", "::1", "::/0", "1::", "fe80::/10"],
            true,
        );
        valid("ip", &["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::"], true);
        valid("ip", &["", "a", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4/33", "1.2.3.4/"], false);
        valid("ip", &["1.2.3.4/-1", "1.2.3.-4", ":::", "1::2::3", "1:2:3:4:5:6:7:8::"], false);
        valid("ip", &["1:2:3:4:5:6:7", "12345::", "g::", "::/129", "1:2:3:4:5:6:7:8:9"], false);
        valid("x509", &["CN=a", "cn=a,O=b c", "1.2.3=x", "CN=\"a,b\",C=d", "CN=a\\,b+UID=1"], true);
        valid("x509", &["a", "CN", "XX=a", "CN=a,", "CN=a,b", "CN=\"a", "CN=a\\"], false);
        valid("world", &["anyone", "a"], false);
        valid("super", &["", "a"], false);
        assert!(!is_valid(&Identity {
            id: (&b"a:\xff"[..]).into(),
            ..Identity::new("digest", "")
        }));
    }

    #[test]
    fn an_address_is_in_its_networks() {
        let table = [
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("10.1.2.3", "10.1.9.9/16", true),
            ("10.1.2.3", "10.2.0.0/16", false),
            ("10.1.2.3", "99.0.0.0/0", true),
            ("10.1.2.3", "10.1.2.2/31", true),
            ("10.1.2.3", "::/0", false),
            ("::1", "0.0.0.0/0", false),
            ("::1", "::/0", true),
            ("0:0:0:0:0:0:0:1", "::1", true),
            ("fe80::1", "fe80::/64", true),
            ("fe81::1", "fe80::/16", false),
        ];
        for (address, network, expected) in table {
            let (who, named) = (Identity::new("ip", address), Identity::new("ip", network));
            assert_eq!(matches(&who, &named), expected, "{address} in {network}");
        }
        let sasl = |id| Identity::new("sasl", id);
        assert!(matches(&sasl("super"), &sasl("a")) && !matches(&sasl("b"), &sasl("a")));
        assert!(!matches(&Identity::new("digest", "a"), &sasl("a")));
    }
}
