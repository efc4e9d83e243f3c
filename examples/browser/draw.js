// Generate an image from a caption with the two graphs of `xmcgan export --model RUN --output model`, inside the browser.

import { WordPiece } from "./tokenizer.js";

export class Painter {
  // ort: onnxruntime-web; folder: URL of the exported files.
  static async load(ort, folder, progress = () => {}) {
    progress("reading the description");
    const about = await (await fetchChecked(`${folder}/export.json`)).json();
    if (about.format !== "onnx" || !about.tokenizer || about.images !== "uint8") {
      throw new Error(`${folder} is not an ONNX export with uint8 images and a text encoder; create it with: xmcgan export --model RUN --output model`);
    }
    progress("reading the vocabulary");
    const tokenizer = new WordPiece(await (await fetchChecked(`${folder}/vocab.txt`)).text(), about.tokenizer);
    progress("reading the text encoder (90 MB for MiniLM)");
    const encoder = await ort.InferenceSession.create(`${folder}/text_encoder.onnx`);
    progress("reading the generator");
    const generator = await ort.InferenceSession.create(`${folder}/generator.onnx`);
    return new Painter(ort, about, tokenizer, encoder, generator);
  }

  constructor(ort, about, tokenizer, encoder, generator) {
    Object.assign(this, { ort, about, tokenizer, encoder, generator });
  }

  // One image: its pixels as ImageData, the word pieces, and each piece's attention over the 16 x 16 regions.
  async draw(caption, noise) {
    const { Tensor } = this.ort;
    const { max_length: length, noise_dim, image_size: size } = this.about;
    const { ids, real } = this.tokenizer.encode(caption, length);
    const mask = Uint8Array.from(ids, (_, place) => (place < real ? 1 : 0));
    const mask_BT = new Tensor("bool", mask, [1, length]);
    const input_ids_BT = new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, length]);
    const { words_BTD, sentence_BD } = await this.encoder.run({ input_ids_BT, mask_BT });
    const noise_BZ = new Tensor("float32", noise, [1, noise_dim]);
    const { images, attention_BRT } = await this.generator.run({ noise_BZ, words_BTD, mask_BT, sentence_BD });
    return {
      picture: toImageData(images.data, size),
      pieces: ids.slice(0, real).map((id) => this.tokenizer.pieces[id]),
      attention: attention_BRT && wordMaps(attention_BRT.data, length, real),
    };
  }
}

function toImageData(pixels, size) {
  const image = new ImageData(size, size);
  for (let place = 0; place < size * size; place++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * place + channel] = pixels[channel * size * size + place];
    }
    image.data[4 * place + 3] = 255;
  }
  return image;
}

function wordMaps(attention, length, real) {
  const regions = attention.length / length;
  return Array.from({ length: real }, (_, word) =>
    Float32Array.from({ length: regions }, (_, region) => attention[region * length + word]),
  );
}

async function fetchChecked(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status} ${answer.statusText}`);
  return answer;
}
