//! What a person sees on a terminal: enough of one to follow a full-screen program.

use super::eventually;
use super::pty::Terminal;

pub struct Screen {
    rows: Vec<Vec<char>>,
    columns: usize,
    row: usize,
    column: usize,
    /// The beginning of a sequence whose end has not come yet.
    begun: String,
}

impl Screen {
    /// An empty one.
    pub fn new(rows: u16, columns: u16) -> Self {
        let columns = usize::from(columns);
        let rows = vec![vec![' '; columns]; usize::from(rows)];
        Self { rows, columns, row: 0, column: 0, begun: String::new() }
    }

    /// Reads from the terminal until the screen's lines, without the spaces at their ends, are as wanted.
    #[track_caller]
    pub fn shows(&mut self, terminal: &mut Terminal, wanted: &[String]) {
        let mut last = Vec::new();
        let what = format!("the screen {wanted:#?}");
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(&what, || {
                self.write(&terminal.read_now());
                last = self.lines();
                (last == wanted).then_some(())
            });
        }));
        assert!(found.is_ok(), "{last:#?} instead of {what}");
    }

    fn lines(&self) -> Vec<String> {
        self.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned()).collect()
    }

    fn write(&mut self, text: &str) {
        let text = std::mem::take(&mut self.begun) + text;
        let mut rest = text.as_str();
        while let Some(first) = rest.chars().next() {
            if first != '\x1b' {
                self.character(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
            let end = rest.char_indices().skip(2).find(|(_, c)| c.is_ascii_alphabetic());
            let Some((end, command)) = end else {
                self.begun = rest.to_owned();
                return;
            };
            assert!(rest.starts_with("\x1b["), "a sequence that is not known here: {:?}", &rest[..=end]);
            self.sequence(&rest[2..end], command);
            rest = &rest[end + 1..];
        }
    }

    fn character(&mut self, c: char) {
        match c {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            '\x08' => self.column = self.column.saturating_sub(1),
            '\x07' => {}
            c => {
                assert!(
                    self.row < self.rows.len() && self.column < self.columns,
                    "{c:?} outside of the screen, at {} {}",
                    self.row,
                    self.column
                );
                self.rows[self.row][self.column] = c;
                self.column += 1;
            }
        }
    }

    fn sequence(&mut self, arguments: &str, command: char) {
        match command {
            'H' => {
                let place =
                    |text: Option<&str>| text.and_then(|n| n.parse::<usize>().ok()).unwrap_or(1).max(1);
                let mut numbers = arguments.split(';');
                self.row = place(numbers.next()) - 1;
                self.column = place(numbers.next()) - 1;
            }
            'J' => {
                self.rows[self.row][self.column..].fill(' ');
                self.rows[self.row + 1..].fill(vec![' '; self.columns]);
            }
            'K' => self.rows[self.row][self.column..].fill(' '),
            // Colours, the second screen, the question where the cursor is.
            'm' | 'h' | 'l' | 'n' => {}
            other => panic!("a sequence that is not known here: {arguments}{other}"),
        }
    }
}
