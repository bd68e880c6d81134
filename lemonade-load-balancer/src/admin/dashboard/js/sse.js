// Server-sent events from a fetched body. `EventSource` would do this, but it cannot send `Authorization`.

/** Every message of the stream, until it ends or fails. */
export async function* messages(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let message = {};
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line !== "") add(message, line);
      else if (message.data !== undefined) {
        yield message;
        message = {};
      }
    }
  }
}

function add(message, line) {
  const colon = line.indexOf(":");
  // A line that begins with a colon is a comment: it keeps the connection alive.
  if (colon === 0) return;
  const name = colon < 0 ? line : line.slice(0, colon);
  const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
  message[name] = name === "data" && message.data !== undefined ? `${message.data}\n${value}` : value;
}
