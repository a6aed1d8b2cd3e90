/* A page that rests draws nothing. Gradio's loading mark (its StatusTracker) is taken away while it counts the seconds,
   and then counts on for ever, at every frame: a tenth of a core for each page in sight. Here its count ends with it. */
(function () {
  "use strict";
  const ask = window.requestAnimationFrame.bind(window);
  let loading = true;
  window.requestAnimationFrame = (run) => {
    if (!loading || !new Error().stack.includes("/statustracker-")) return ask(run);
    return ask((time) => {
      loading &&= !document.getElementById("tabs");
      if (loading) run(time); // and it asks for the next frame
    });
  };
})();
