// Paints a picture and what a model says of it onto a canvas.

const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]]; // viridis, five of its colours
const DIFFERENT = [222, 60, 75];
const SMALL = 400; // pixels; a smaller picture is enlarged without blur

const HEAT = Array.from({ length: 256 }, (_, level) => {
  const place = (level / 255) * (RAMP.length - 1);
  const below = Math.min(Math.floor(place), RAMP.length - 2);
  return RAMP[below].map((start, band) => start + (RAMP[below + 1][band] - start) * (place - below));
});

/** Decode a picture into its pixels. */
export async function pixelsOf(blob) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, bitmap.width, bitmap.height);
}

/**
 * Paint a picture under its layer.
 *
 * look: { layer, opacity 0..1, threshold 0..255, visible: a truth for each class, colours: [r, g, b] for each class }
 * result: { classes, confidence }: a byte for each pixel; null paints the picture alone
 * other: the result that differences are to; null where there is none
 */
export function paint(canvas, picture, result, look, other = null) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.classList.toggle("small", Math.max(picture.width, picture.height) < SMALL);
  const painted = new ImageData(new Uint8ClampedArray(picture.data), picture.width, picture.height);
  if (result) tint(painted.data, result, look, other);
  canvas.getContext("2d").putImageData(painted, 0, 0);
}

function tint(data, result, look, other) {
  const colourAt = { classes: classColour, confidence: heatColour, difference: differenceColour }[look.layer];
  for (let pixel = 0, at = 0; at < data.length; pixel += 1, at += 4) {
    const colour = colourAt(pixel, result, look, other);
    if (!colour) continue;
    for (let band = 0; band < 3; band += 1) {
      data[at + band] += (colour[band] - data[at + band]) * look.opacity;
    }
  }
}

function classColour(pixel, result, look) {
  const id = result.classes[pixel];
  return look.visible[id] && result.confidence[pixel] >= look.threshold ? look.colours[id] : null;
}

function heatColour(pixel, result, look) {
  return result.confidence[pixel] >= look.threshold ? HEAT[result.confidence[pixel]] : null;
}

function differenceColour(pixel, result, look, other) {
  return other && result.classes[pixel] !== other.classes[pixel] ? DIFFERENT : null;
}

/** Return the part of the pixels in which two results differ. */
export function differing(result, other) {
  let count = 0;
  for (let pixel = 0; pixel < result.classes.length; pixel += 1) count += result.classes[pixel] !== other.classes[pixel];
  return count / result.classes.length;
}
