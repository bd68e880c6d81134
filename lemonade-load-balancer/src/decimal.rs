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

/// Writes a number.
#[inline]
pub(crate) fn whole(number: u64, out: &mut Vec<u8>) {
    match number {
        0..10 => out.push(b'0' + number as u8),
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
    if time.is_zero() {
        return out.push(b'0');
    }
    fraction(time.as_secs(), six(time.subsec_micros()), out);
}

/// Writes a number and these digits behind its point.
fn fraction<const N: usize>(number: u64, digits: [u8; N], out: &mut Vec<u8>) {
    match number {
        // As most are.
        small @ 0..10 => out.extend_from_slice(&[b'0' + small as u8, b'.']),
        long => {
            whole(long, out);
            out.push(b'.');
        }
    }
    out.extend_from_slice(&digits);
}

/// The last six digits of a number.
pub(crate) fn six(number: u32) -> [u8; 6] {
    let [[a, b], [c, d], [e, f]] = [pair(number / 10_000), pair(number / 100), pair(number)];
    [a, b, c, d, e, f]
}

/// Writes a time in milliseconds, to the microsecond.
pub(crate) fn milliseconds(time: Duration, out: &mut Vec<u8>) {
    let micros = time.subsec_micros();
    let [b, c] = pair(micros % 1000);
    let a = b'0' + (micros % 1000 / 100) as u8;
    let millis = time.as_secs() * 1000 + u64::from(micros / 1000);
    fraction(millis, [a, b, c], out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
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
        fn times_are_cut_to_the_microsecond(nanos in 0u64..100_000_000_000_000) {
            let (time, micros) = (Duration::from_nanos(nanos), nanos / 1000);
            let expected = match nanos {
                0 => "0".to_owned(),
                _ => format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000),
            };
            prop_assert_eq!(written(|out| seconds(time, out)), expected);
            let expected = format!("{}.{:03}", micros / 1000, micros % 1000);
            prop_assert_eq!(written(|out| milliseconds(time, out)), expected);
        }
    }
}
