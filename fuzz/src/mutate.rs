//! What is done to an input to make another: bits, bytes, words, lines, numbers, and pieces of a second
//! input.

/// A small generator of numbers that look random (xorshift64*): the same seed gives the same run.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Less than `end`; 0 if that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from((self.next() >> 11) % end).unwrap_or(0)
    }

    fn of<'a, T: ?Sized>(&mut self, choice: &[&'a T]) -> &'a T {
        choice[self.below(choice.len())]
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(40) + 1)
    }
}

/// Words that kernels, runtimes and people write, and some that break parsers.
const WORDS: [&[u8]; 64] = [
    b"\n",
    b" ",
    b"\t",
    b":",
    b"=",
    b",",
    b"0",
    b"-1",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854771712",
    b"4294967296",
    b"max",
    b"max 100000\n",
    b"Read",
    b"Write",
    b"Total",
    b"254:0",
    b"rbytes=",
    b"wbytes=",
    b"rios=",
    b"(unknown)",
    b"usage_usec ",
    b"oom_kill ",
    b"total_",
    b"some avg10=",
    b"full ",
    b"total=",
    b"eth0:",
    b"lo:",
    b"kubepods",
    b"/pod",
    b"-pod",
    b".slice",
    b".scope",
    b"crio-",
    b"cri-containerd-",
    b"..",
    b"\xff\xfe",
    b"1e-9",
    b"\"",
    b"{",
    b"}",
    b"[",
    b"null",
    b"\"a\":",
    b"\\u0000",
    b"\\ud83d\\ude00",
    b"\xc3\xa9",
    b"true",
    b"%",
    b"%2e",
    b"&",
    b";q=",
    b"*",
    b"@",
    b"[::1]",
    b"localhost",
    b"\r\n",
    b"Bearer ",
    b"Host: ",
    b"-----BEGIN CERTIFICATE-----\n",
    b"\x1b[31m",
    b"NaN",
];

/// No input grows beyond this.
const LONGEST: usize = 8 << 10;

/// Makes another input of `input`; `other` lends pieces.
pub(crate) fn mutate(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        one(input, other, random);
        input.truncate(LONGEST);
    }
}

fn one(input: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let at = random.below(input.len() + 1);
    match random.below(9) {
        0 if !input.is_empty() => {
            let at = at.min(input.len() - 1);
            input[at] ^= 1 << random.below(8);
        }
        1 if !input.is_empty() => {
            let at = at.min(input.len() - 1);
            input[at] = random.next().to_le_bytes()[0];
        }
        2 => {
            let word = random.of(&WORDS);
            input.splice(at..at, word.iter().copied());
        }
        3 => {
            let range = random.range(input.len());
            input.drain(range);
        }
        4 => {
            let piece = input[random.range(input.len())].to_vec();
            input.splice(at..at, piece);
        }
        5 => {
            let piece = other[random.range(other.len())].to_vec();
            input.splice(at..at, piece);
        }
        6 => input.truncate(at),
        7 => number(input, at, random),
        _ => lines(input, random),
    }
}

/// Puts another number where one stands.
fn number(input: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = input[at..].iter().position(u8::is_ascii_digit).map(|start| at + start) else { return };
    let digits = input[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = random.next() >> random.below(64);
    input.splice(start..start + digits, number.to_string().into_bytes());
}

/// Repeats a line, drops it, or joins it with the next.
fn lines(input: &mut Vec<u8>, random: &mut Random) {
    let mut lines: Vec<Vec<u8>> = input.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    if lines.is_empty() {
        return;
    }
    let at = random.below(lines.len());
    match random.below(3) {
        0 => lines.insert(at, lines[at].clone()),
        1 => drop(lines.remove(at)),
        _ => drop(lines[at].pop()),
    }
    *input = lines.concat();
}
