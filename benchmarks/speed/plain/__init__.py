"""The published way, rendered straightforwardly: what the package's speed is measured against.

fp32 and NCHW; attention written out; two student forwards, one of labeled and one of strong views; CutMix by boolean
masks; an average of the weights parameter by parameter; scalars read after every step; photometry on the CPU with
Pillow, image by image; evaluation image by image, model by model, with histograms of NumPy. Written from the papers
(UniMatch V2 arXiv 2410.10777, DPT 2103.13413, DINOv2 2304.07193), with networks of its own that take the weights of
ours, so that a faster module of the package does not make it faster too.
"""
