// Draws many points: by WebGL where the browser has it, else pixel by pixel. It knows nothing of what points mean.
//
// Points are { count, places: Int16Array of x and y from -32767 to 32767 in turn, slot: Uint8Array (colour),
// shape: Uint8Array (0 disc, 1 triangle, 2 diamond), state: Uint8Array (one of STATES) }.
"use strict";
clibd.painter = (() => {
  const STATES = { hidden: 0, pale: 1, shown: 2, chosen: 3 };
  const COLOURS = 10;

  const VERTEX = `
    attribute vec2 place;
    attribute vec3 look; // colour, shape, state
    uniform vec2 centre, scale;
    uniform float size;
    uniform vec3 colours[${COLOURS}];
    uniform vec3 ink;
    varying vec4 colour;
    varying vec3 edge; // its colour, where chosen
    varying float shape, chosen;
    void main() {
      chosen = step(2.5, look.z);
      gl_Position = look.z < 0.5 ? vec4(2.0, 2.0, 2.0, 1.0) : vec4((place - centre) * scale, 0.0, 1.0);
      gl_PointSize = chosen > 0.5 ? max(9.0, 1.8 * size) : size;
      colour = vec4(colours[int(look.x)], look.z < 1.5 ? 0.12 : 0.85);
      edge = ink;
      shape = look.y;
    }`;
  const FRAGMENT = `
    precision mediump float;
    varying vec4 colour;
    varying vec3 edge;
    varying float shape, chosen;
    void main() {
      vec2 at = gl_PointCoord * 2.0 - 1.0;
      float out_of = shape < 0.5 ? length(at) : shape < 1.5 ? max(at.y, 2.0 * abs(at.x) - at.y) : abs(at.x) + abs(at.y);
      if (out_of > 1.0) discard;
      gl_FragColor = chosen > 0.5 && out_of > 0.6 ? vec4(edge, 1.0) : colour;
    }`;

  function program(gl) {
    const made = gl.createProgram();
    for (const [type, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(type);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made) || "no program");
    return made;
  }

  function byWebGL(canvas, gl, points) {
    let used, uniforms, places, looks;
    function begin() {
      used = program(gl);
      gl.useProgram(used);
      uniforms = Object.fromEntries(["centre", "scale", "size", "colours", "ink"].map((name) => [name, gl.getUniformLocation(used, name)]));
      [places, looks] = [gl.createBuffer(), gl.createBuffer()];
      filled(places, points.places);
      looked();
      gl.enable(gl.BLEND);
      gl.blendFuncSeparate(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA, gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    }
    function filled(buffer, data) {
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
    }
    // Every so many points of a buffer of four bytes each.
    function attribute(name, buffer, size, type, normal, every) {
      const at = gl.getAttribLocation(used, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, size, type, normal, 4 * every, 0);
    }
    // Four bytes a point, as that is what hardware likes.
    function looked() {
      const told = new Uint8Array(4 * points.count);
      for (let n = 0, at = 0; n < points.count; n++, at += 4) {
        told[at] = points.slot[n];
        told[at + 1] = points.shape[n];
        told[at + 2] = points.state[n];
      }
      filled(looks, told);
    }
    function draw(view, ink, every) {
      attribute("place", places, 2, gl.SHORT, true, every);
      attribute("look", looks, 3, gl.UNSIGNED_BYTE, false, every);
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(uniforms.centre, view.x, view.y);
      gl.uniform2f(uniforms.scale, (2 * view.perX) / canvas.width, (2 * view.perY) / canvas.height);
      gl.uniform1f(uniforms.size, view.size);
      gl.uniform3fv(uniforms.colours, ink.colours.flatMap((colour) => colour.map((level) => level / 255)));
      gl.uniform3fv(uniforms.ink, ink.ink.map((level) => level / 255));
      gl.drawArrays(gl.POINTS, 0, Math.floor((points.count - 1) / every) + 1);
    }
    canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
    canvas.addEventListener("webglcontextrestored", () => {
      begin();
      canvas.dispatchEvent(new Event("restored"));
    });
    begin();
    return { way: "WebGL", draw, looked };
  }

  // Without WebGL: pixels are set one by one, the chosen ones last.
  function byPixels(canvas, points) {
    const context = canvas.getContext("2d");
    function draw(view, ink, every) {
      const { width, height } = canvas;
      const image = context.createImageData(width, height), pixels = new Uint32Array(image.data.buffer);
      const packed = ([red, green, blue], alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
      const strong = ink.colours.map((colour) => packed(colour, 255)), pale = ink.colours.map((colour) => packed(colour, 40));
      const edge = packed(ink.ink, 255);
      for (const state of [STATES.pale, STATES.shown, STATES.chosen]) {
        const radius = Math.max(1, Math.round((state === STATES.chosen ? Math.max(9, 1.8 * view.size) : view.size) / 2));
        for (let n = 0; n < points.count; n += every) {
          if (points.state[n] !== state) continue;
          const x = Math.round(width / 2 + (points.places[2 * n] / 32767 - view.x) * view.perX);
          const y = Math.round(height / 2 - (points.places[2 * n + 1] / 32767 - view.y) * view.perY);
          if (x < -radius || y < -radius || x > width + radius || y > height + radius) continue;
          const colour = (state === STATES.pale ? pale : strong)[points.slot[n]];
          for (let down = -radius; down <= radius; down++) {
            for (let along = -radius; along <= radius; along++) {
              const from = points.shape[n] === 0 ? Math.hypot(along, down) : points.shape[n] === 1 ? Math.max(down, 2 * Math.abs(along) - down) : Math.abs(along) + Math.abs(down);
              const column = x + along, row = y + down;
              if (from > radius || column < 0 || row < 0 || column >= width || row >= height) continue;
              pixels[row * width + column] = state === STATES.chosen && from > 0.6 * radius ? edge : colour;
            }
          }
        }
      }
      context.putImageData(image, 0, 0);
    }
    return { way: "pixels", draw, looked: () => {} };
  }

  // A painter of points on a canvas: draw(view, ink, every) draws each so-many-th (at most the 63rd, as attributes lie
  // 252 bytes apart at most), looked() takes over what changed in their looks.
  function painter(canvas, points) {
    // What is drawn has to stay there to be printed.
    const gl = canvas.getContext("webgl", { preserveDrawingBuffer: true, antialias: false, premultipliedAlpha: false });
    return gl ? byWebGL(canvas, gl, points) : byPixels(canvas, points);
  }
  return Object.assign(painter, { STATES });
})();
