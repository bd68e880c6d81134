//! Numbers written straight into bytes. A line of the access log has a dozen of them: formatting in general costs more than the
//! rest of the line.

use std::time::Duration;

/// `00` to `99`: two digits for one division.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number][0] += (number / 10) as u8;
        pairs[number][1] += (number % 10) as u8;
        number += 1;
    }
    pairs
};

fn pair(number: u32) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

/// One in each byte: times a number that fits into a byte, that number in each.
pub(crate) const EACH: u64 = 0x0101_0101_0101_0101;

/// The digits of a number below 100,000,000, all of them at once: halves, pairs in those, and digits in those, each beside the
/// other in one word (Paul Khuong, "How to print integers really fast").
fn eight_decimal(number: u32) -> [u8; 8] {
    let halves = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    // Times 10,486 / 2^20 is a division by 100 for all below 43,698; times 103 / 2^10 one by 10 for all below 178.
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    (digits + EACH * u64::from(b'0')).to_le_bytes()
}

/// The hexadecimal digits of a number, all of them at once: every request that is forwarded while tracing is on has twice as many.
pub(crate) fn eight_hex(number: u32) -> [u8; 8] {
    // Halves move apart, and halves of those, until each digit has a byte to itself.
    let number = u64::from(number);
    let number = (number | number << 16) & 0x0000_ffff_0000_ffff;
    let number = (number | number << 8) & 0x00ff_00ff_00ff_00ff;
    let number = (number | number << 4) & (EACH * 0x0f);
    // Those from 10 on carry into the bit of 16 when 6 is added.
    let is_letter = ((number + EACH * 6) >> 4) & EACH;
    let beyond_nine = u64::from(b'a' - b'0' - 10);
    (number + EACH * u64::from(b'0') + is_letter * beyond_nine).to_be_bytes()
}

/// Writes a number.
#[inline]
pub(crate) fn whole(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number as u32)),
        // As a status.
        100..1000 => {
            let [tens, ones] = pair(number as u32);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        _ => long(number, out),
    }
}

fn long(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a time in seconds, to the microsecond; `0` if it is none, as many are.
pub(crate) fn seconds(time: Duration, out: &mut Vec<u8>) {
    match few_seconds(time) {
        _ if time.is_zero() => out.push(b'0'),
        Some(text) => out.extend_from_slice(&text),
        None => fraction(time.as_secs(), &six(time.subsec_micros()), out),
    }
}

/// The same of a time of less than ten of them, all digits even of none.
#[inline]
pub(crate) fn few_seconds(time: Duration) -> Option<[u8; 8]> {
    let seconds = time.as_secs();
    if seconds >= 10 {
        return None;
    }
    let mut text = eight_decimal(time.subsec_micros());
    (text[0], text[1]) = (b'0' + seconds as u8, b'.');
    Some(text)
}

/// Writes a time in milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration, out: &mut Vec<u8>) {
    let millis = time.as_secs() * 1000 + u64::from(time.subsec_millis());
    fraction(millis, &six(time.subsec_micros())[3..], out);
}

/// The same of a time of less than ten of them.
#[inline]
pub(crate) fn few_milliseconds(time: Duration) -> Option<[u8; 5]> {
    if time >= Duration::from_millis(10) {
        return None;
    }
    let [.., ones, a, b, c] = eight_decimal(time.subsec_micros());
    Some([ones, b'.', a, b, c])
}

/// The last six digits of a number.
pub(crate) fn six(number: u32) -> [u8; 6] {
    let [_, _, six @ ..] = eight_decimal(number % 1_000_000);
    six
}

/// Writes a number and these digits behind its point.
fn fraction(number: u64, digits: &[u8], out: &mut Vec<u8>) {
    long(number, out);
    out.push(b'.');
    out.extend_from_slice(digits);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    proptest! {
        #[test]
        fn numbers_are_written_as_everywhere(number in any::<u64>(), small in 0u64..1200) {
            prop_assert_eq!(written(|out| whole(number, out)), number.to_string());
            prop_assert_eq!(written(|out| whole(small, out)), small.to_string());
        }

        #[test]
        fn times_are_cut_to_the_microsecond(nanos in prop_oneof![0u64..100_000_000, 0u64..100_000_000_000_000]) {
            let (time, micros) = (Duration::from_nanos(nanos), nanos / 1000);
            let expected = match nanos {
                0 => "0".to_owned(),
                _ => format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
            };
            prop_assert_eq!(written(|out| seconds(time, out)), &*expected);
            let few = few_seconds(time).map(|text| String::from_utf8(text.to_vec()).unwrap());
            let expected = (micros < 10_000_000).then(|| format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000));
            prop_assert_eq!(few, expected);
            let expected = format!("{}.{:03}", micros / 1000, micros % 1000);
            prop_assert_eq!(written(|out| milliseconds(time, out)), &*expected);
            let few = few_milliseconds(time).map(|text| String::from_utf8(text.to_vec()).unwrap());
            prop_assert_eq!(few, (micros < 10_000).then_some(expected));
        }

        #[test]
        fn eight_digits_are_those_of_the_number(number in 0u32..100_000_000, any: u32) {
            let expected = format!("{number:08}");
            prop_assert_eq!(&eight_decimal(number)[..], expected.as_bytes());
            let expected = format!("{any:08x}");
            prop_assert_eq!(&eight_hex(any)[..], expected.as_bytes());
        }
    }
}
