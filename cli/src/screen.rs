//! The whole terminal for a while: another screen, keys one by one, and everything as it was before
//! on any way out. In: text. Out: lines that fit, keys. `fit` is pure, the rest is I/O.
//!
//! Straight on the terminal's own calls: what is drawn is our text, so a library of widgets would be
//! twenty crates for a frame.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::thread;

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use tokio::sync::mpsc;

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// Where a terminal does not say how large it is.
const SIZE: Size = Size { rows: 24, columns: 80 };
/// Keys that wait to be looked at: a person presses no more between two drawings.
const KEYS_MAX: usize = 16;
/// Tenths of a second after which a read without a key looks whether anybody still listens.
const LOOK_TENTHS: u8 = 1;

/// A terminal's size in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: usize,
    /// Characters of a line.
    pub columns: usize,
}

/// What a person pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// To end.
    Quit,
    /// So many lines down; up when negative.
    Scroll(isize),
    /// So many pages down; up when negative.
    Page(isize),
    /// To the top.
    Top,
    /// Something else.
    Other,
}

/// The terminal, taken. It is given back when this is dropped.
pub struct Screen {
    terminal: File,
    before: Termios,
    keys: mpsc::Receiver<Key>,
}

/// Whether a person looks at standard output.
pub fn is_there() -> bool {
    io::stdout().is_terminal() && File::open("/dev/tty").is_ok()
}

impl Screen {
    /// Takes the terminal.
    pub fn open() -> io::Result<Screen> {
        let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        raw.special_codes[SpecialCodeIndex::VMIN] = 0;
        raw.special_codes[SpecialCodeIndex::VTIME] = LOOK_TENTHS;
        // Stopped in the middle, the terminal would stay as it is now.
        raw.special_codes[SpecialCodeIndex::VSUSP] = 0;
        let reader = terminal.try_clone()?;
        let (_, none) = mpsc::channel(KEYS_MAX);
        // Dropped on any way out from here on, and so given back.
        let mut screen = Screen { terminal, before, keys: none };
        tcsetattr(&screen.terminal, OptionalActions::Now, &raw)?;
        screen.keys = read_keys(reader)?;
        screen.write(ENTER)?;
        Ok(screen)
    }

    /// How large it is now.
    pub fn size(&self) -> Size {
        match tcgetwinsize(&self.terminal) {
            Ok(size) if size.ws_row > 0 && size.ws_col > 0 => {
                Size { rows: size.ws_row.into(), columns: size.ws_col.into() }
            }
            _ => SIZE,
        }
    }

    /// Draws what [`fit`] made.
    pub fn draw(&self, text: &str) -> io::Result<()> {
        self.write(text)
    }

    /// The next key. Can be cancelled without losing one.
    pub async fn key(&mut self) -> Key {
        // Where nobody reads the terminal any more, it is gone.
        self.keys.recv().await.unwrap_or(Key::Quit)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = self.write(LEAVE);
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Keys, read by a thread of its own, which ends when nobody listens any more.
fn read_keys(mut terminal: File) -> io::Result<mpsc::Receiver<Key>> {
    let (sender, keys) = mpsc::channel(KEYS_MAX);
    let read = move || {
        let mut bytes = [0; 64];
        while !sender.is_closed() {
            match terminal.read(&mut bytes) {
                Ok(0) => {}
                // Too fast for the screen: what is pressed then is lost, not kept for later.
                Ok(read) => drop(sender.try_send(pressed(&bytes[..read]))),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    thread::Builder::new().name("keys".to_owned()).spawn(read)?;
    Ok(keys)
}

/// What those bytes of a terminal mean.
fn pressed(bytes: &[u8]) -> Key {
    match bytes {
        b"q" | b"Q" | b"\x1b" | b"\x03" | b"\x04" => Key::Quit,
        b"j" | b"\x1b[B" | b"\x1bOB" => Key::Scroll(1),
        b"k" | b"\x1b[A" | b"\x1bOA" => Key::Scroll(-1),
        b" " | b"\x1b[6~" => Key::Page(1),
        b"b" | b"\x1b[5~" => Key::Page(-1),
        b"g" | b"\x1b[H" | b"\x1b[1~" => Key::Top,
        _ => Key::Other,
    }
}

/// What fills a screen of that size: a head, the body from line `from` on, and a foot. Longer lines
/// are cut; colours count for nothing and end with their line.
pub fn fit(head: &str, body: &str, foot: &str, from: usize, size: Size) -> String {
    let mut drawn = String::from("\x1b[H");
    let room = size.rows.saturating_sub(2);
    let lines = std::iter::once(head)
        .chain(body.lines().skip(from).chain(std::iter::repeat("")).take(room))
        .chain(std::iter::once(foot));
    for (at, line) in lines.take(size.rows).enumerate() {
        if at > 0 {
            drawn += "\r\n";
        }
        drawn += &cut(line, size.columns);
        drawn += "\x1b[0m\x1b[K";
    }
    drawn + "\x1b[J"
}

/// The furthest line at which a body of so many lines may begin.
pub fn last_start(lines: usize, size: Size) -> usize {
    lines.saturating_sub(size.rows.saturating_sub(2))
}

/// The line's first characters, with all its colours.
fn cut(line: &str, columns: usize) -> String {
    let (mut shown, mut width, mut in_colour) = (String::new(), 0, false);
    for c in line.chars() {
        if c == '\x1b' {
            in_colour = true;
        }
        if in_colour {
            shown.push(c);
            in_colour = c != 'm';
        } else if width < columns {
            shown.push(c);
            width += 1;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, from: usize, expected: &[&str]) {
        let drawn = fit("head", body, "foot", from, Size { rows: 5, columns: 6 });
        let plain = drawn.strip_prefix("\x1b[H").unwrap().strip_suffix("\x1b[J").unwrap();
        let lines: Vec<_> = plain.split("\r\n").collect();
        let expected: Vec<_> = expected.iter().map(|line| format!("{line}\x1b[0m\x1b[K")).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_page_fills_the_screen_and_no_more() {
        check("a\nb", 0, &["head", "a", "b", "", "foot"]);
        check("a\nb\nc\nd\ne", 1, &["head", "b", "c", "d", "foot"]);
        check("longer than six", 0, &["head", "longer", "", "", "foot"]);
        check("\x1b[31mlonger\x1b[0m than", 0, &["head", "\x1b[31mlonger\x1b[0m", "", "", "foot"]);
        assert_eq!(fit("h", "b", "f", 0, Size { rows: 1, columns: 9 }).matches("\r\n").count(), 0);
        assert_eq!(last_start(5, Size { rows: 5, columns: 6 }), 2);
        assert_eq!(last_start(2, Size { rows: 5, columns: 6 }), 0);
    }

    #[test]
    fn keys_are_known_by_what_terminals_send() {
        for (bytes, key) in [
            (&b"q"[..], Key::Quit),
            (b"\x1b", Key::Quit),
            (b"\x1b[A", Key::Scroll(-1)),
            (b"\x1b[6~", Key::Page(1)),
            (b"g", Key::Top),
            (b"x", Key::Other),
        ] {
            assert_eq!(pressed(bytes), key, "{bytes:?}");
        }
    }
}
