function heed(socket, seconds = 45) {
  let timer;
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.close(4000, "no heartbeat"), seconds * 1000);
  };
  socket.addEventListener("open", wait);
  socket.addEventListener("close", () => clearTimeout(timer));
  socket.addEventListener("message", (event) => {
    wait();
    if (event.data === "ping") {
      event.stopImmediatePropagation(); // call heed() before other listeners are added
      socket.send("pong");
    }
  });
}
